// Streams of any size, without a network.
import assert from 'node:assert'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { mkdir, mkdtemp, open, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import test, { after, before } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Client, generateKey } from 'kms'

const MIB = 1 << 20
const content = Buffer.concat(Array(9).fill(randomBytes(MIB)), 8 * MIB + 4321)
let home, dir, me
const at = name => join(home, name)
const files = () => fs.readdirSync('/proc/self/fd').length
// What is closed is closed a moment later.
const eventually = async check => { while (!await check()) await setTimeout(5) }

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'kms-'))
  dir = at('waiting')
  await mkdir(dir)
  await generateKey('correct horse', { home })
  me = await Client.open({ home, passphrase: 'correct horse', ledger: '' })
  await writeFile(at('plain'), content)
})
after(() => rm(home, { recursive: true }))

test('what passes through comes out encrypted, and back again', async () => {
  const [encrypt, decrypt] = [me.createEncrypt({ cipher: 'aes-256-gcm-siv', dir }), me.createDecrypt({ dir })]
  await pipeline(fs.createReadStream(at('plain')), encrypt, fs.createWriteStream(at('sealed')))
  const sealed = await readFile(at('sealed'))
  assert.deepEqual([encrypt.size, encrypt.sealed_size], [content.length, sealed.length])
  assert.equal((await me.inspect(sealed)).labels[0].label, encrypt.label)
  const back = await pipeline(fs.createReadStream(at('sealed')), decrypt, buffer)
  assert.ok(back.equals(content))
  assert.deepEqual([decrypt.owner, decrypt.label, decrypt.size], [await me.identity(), encrypt.label, content.length])
  assert.ok((await me.decrypt(sealed)).data.equals(content), 'it is what encrypt makes')
  assert.deepEqual(await readdir(dir), [], 'nothing waits any more')
})

test('a file is written and read in pieces, down to none', async () => {
  for (const size of [0, 1, content.length]) {
    const target = at(`pieces-${size}`)
    const writing = me.createWriteStream(target)
    await pipeline(Readable.from([content.subarray(0, size)], { objectMode: false }), writing)
    assert.equal(writing.size, size)
    const pieces = []
    for await (const piece of me.createReadStream(target)) {
      assert.ok(Buffer.isBuffer(piece))
      pieces.push(piece)
    }
    assert.ok(Buffer.concat(pieces).equals(content.subarray(0, size)))
    const opened = files()
    for await (const piece of me.createReadStream(target)) { assert.ok(piece.length <= MIB); break }
    await eventually(() => files() <= opened)
  }
})

test('memory does not grow with what passes, and nobody is hurried', async () => {
  const piece = randomBytes(MIB)
  const hash = createHash('sha256')
  function * pieces () { for (let count = 0; count < 192; count++) { hash.update(piece); yield piece } }
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  let most = 0
  const look = () => { most = Math.max(most, process.memoryUsage().rss - before) }
  const writing = me.createWriteStream(at('large')).on('drain', look)
  await pipeline(Readable.from(pieces(), { objectMode: false }), writing)
  assert.equal(writing.size, 192 * MIB)
  const reading = me.createReadStream(at('large'))
  const back = createHash('sha256')
  const slow = new Writable({ write (chunk, _, done) { back.update(chunk); look(); setImmediate(done) } })
  await pipeline(reading, me.createEncrypt({ dir }), me.createDecrypt({ dir }), slow)
  assert.equal(back.digest('hex'), hash.digest('hex'))
  assert.ok(most < 128 * MIB, `${most >> 20} MiB`)

  const idle = me.createReadStream(at('large'))
  await new Promise(resolve => idle.once('readable', resolve))
  await setTimeout(50)
  assert.ok(idle.readableLength <= 2 * MIB)
  idle.destroy()
  const full = me.createWriteStream(at('never'))
  assert.equal(full.write(Buffer.alloc(4 * MIB)), false)
  full.destroy()
  await new Promise(resolve => full.once('close', resolve))
  await rm(at('large'))
})

test('what is given up leaves nothing', async () => {
  const left = async () => (await readdir(home)).filter(name => /never|part/.test(name)).length
  const controller = new AbortController()
  const { signal } = controller
  const endless = async function * () { for (;;) { yield Buffer.alloc(MIB); if (Math.random() < 0.1) controller.abort(new Error('enough')) } }
  await assert.rejects(pipeline(endless(), me.createWriteStream(at('never-1'), { signal })), { name: 'AbortError' })
  await assert.rejects(pipeline(endless(), me.createEncrypt({ dir, signal }), new Writable()), { name: 'AbortError' })
  const reading = me.createReadStream(at('plain'), { signal })
  await assert.rejects(buffer(reading), { name: 'AbortError' })
  // What was given up before it had begun.
  await assert.rejects(pipeline(Readable.from([content]), me.createEncrypt({ dir, signal }), new Writable()), { name: 'AbortError' })
  await assert.rejects(pipeline(Readable.from([content]), me.createWriteStream(at('never-3'), { signal })), { name: 'AbortError' })
  const given = me.createWriteStream(at('never-2'))
  given.write('begun')
  given.destroy()
  await eventually(async () => await left() === 0)
  await eventually(async () => (await readdir(dir)).length === 0)
})

test('a stream fails by the catalogue', async () => {
  const refused = (code, work) => assert.rejects(work, { code })
  await pipeline(fs.createReadStream(at('plain')), me.createWriteStream(at('altered')))
  const file = await open(at('altered'), 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, 5 * MIB)
  byte[0] ^= 1
  await file.write(byte, 0, 1, 5 * MIB)
  await file.close()
  let seen = 0
  const count = async function () { for await (const piece of me.createReadStream(at('altered'))) seen += piece.length }
  await refused('TAMPERED', count())
  assert.ok(seen > 0 && seen < 5 * MIB, 'what came before it is good')
  const out = new Writable({ write: (chunk, _, done) => done() })
  await refused('TAMPERED', pipeline(fs.createReadStream(at('altered')), me.createDecrypt({ dir }), out))
  await refused('BAD_DATA', buffer(me.createReadStream(at('plain'))))
  await refused('BAD_DATA', pipeline(Readable.from([]), me.createDecrypt({ dir }), new Writable()))
  await refused('IO', buffer(me.createReadStream(at('nowhere'))))
  await refused('EXISTS', pipeline(Readable.from([content]), me.createWriteStream(at('plain'))))
  assert.ok((await readFile(at('plain'))).equals(content))
  await refused('UNSUPPORTED', pipeline(Readable.from([content]), me.createWriteStream(at('x'), { cipher: 'rot13' })))
  await refused('BAD_PARAMETER', buffer(me.createReadStream(at('altered'), { key: '00'.repeat(32) })))
  await refused('ENOENT', pipeline(Readable.from([content]), me.createEncrypt({ dir: '/nonexistent' }), new Writable()))
  const locked = await Client.open({ home })
  await refused('LOCKED', pipeline(Readable.from([content]), locked.createWriteStream(at('x'))))
  locked.close()
  assert.throws(() => locked.createReadStream(at('plain')), /closed/)
  await eventually(async () => (await readdir(dir)).length === 0)
})
