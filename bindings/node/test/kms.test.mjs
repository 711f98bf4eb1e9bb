// What a program in JavaScript sees, without a network.
import assert from 'node:assert'
import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test, { after, before } from 'node:test'
import { Client, KmsError, generateKey } from 'kms'

let home, me

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'kms-'))
  const made = await generateKey('correct horse', { home })
  assert.match(made.identity, /^kms1/)
  assert.equal(made.recovery_words.split(' ').length, 24)
  me = await Client.open({ home, passphrase: 'correct horse', ledger: '' })
})
after(() => rm(home, { recursive: true }))

const refused = (code, promise) => assert.rejects(promise, error => {
  assert.ok(error instanceof KmsError, String(error))
  assert.equal(error.code, code, error.message)
  return true
})

test('bytes come back whatever holds them', async () => {
  for (const data of [Buffer.alloc(0), Buffer.from('launch friday'), new Uint8Array(100_000).fill(7), new ArrayBuffer(5)]) {
    const sealed = await me.encrypt(data)
    assert.equal(sealed.size, data.byteLength)
    const opened = await me.decrypt(sealed.sealed)
    assert.deepEqual(opened.data, Buffer.from(data))
    assert.equal(opened.owner, await me.identity())
    assert.equal((await me.inspect(sealed.sealed)).labels[0].label, sealed.label)
  }
  await assert.rejects(me.encrypt('text'), TypeError)
})

test('a file comes back, and appears when it is whole', async () => {
  const at = name => join(home, name)
  const content = Buffer.alloc(3_000_000, 'kms')
  await writeFile(at('plain'), content)
  const done = await me.encryptFile(at('plain'), pathToFileURL(at('sealed')), { cipher: 'aes-256-gcm-siv' })
  assert.equal((await stat(at('sealed'))).size, done.sealed_size)
  await me.decryptFile(at('sealed'), at('back'))
  assert.deepEqual(await readFile(at('back')), content)
  await refused('EXISTS', me.decryptFile(at('sealed'), at('back')))
})

// What was given up before it had begun went on to its end.
test('what is given up rejects with the reason, and leaves nothing', async () => {
  const plain = await open(join(home, 'large'), 'w')
  await plain.truncate(2 ** 32)
  await plain.close()
  const controller = new AbortController()
  const work = me.encryptFile(join(home, 'large'), join(home, 'never'), { signal: controller.signal })
  controller.abort(new Error('enough'))
  await assert.rejects(work, /enough/)
  await assert.rejects(me.encrypt(Buffer.alloc(1), { signal: controller.signal }), /enough/)
  await assert.rejects(stat(join(home, 'never')), { code: 'ENOENT' })
})

test('errors are those of the catalogue', async () => {
  const { sealed } = await me.encrypt(Buffer.alloc(10_000))
  sealed[sealed.length - 1] ^= 1
  await refused('TAMPERED', me.decrypt(sealed))
  await refused('BAD_DATA', me.decrypt(Buffer.alloc(7)))
  await refused('UNSUPPORTED', me.encrypt(sealed, { cipher: 'rot13' }))
  await refused('BAD_TYPE', me.grant(7, 'bob'))
  await refused('UNKNOWN_RECIPIENT', me.grant('00'.repeat(16), 'bob'))
  const bob = await generateKey('pass', { name: 'bob', home })
  assert.equal((await me.contactAdd('bob', bob.identity)).added, true)
  await refused('NO_NETWORK', me.grant('00'.repeat(16), 'bob'))
  await refused('IO', me.encryptFile('/nonexistent/plain', '/nonexistent/sealed'))
  const error = await me.encryptFile('/nonexistent/plain', '/x').catch(error => error)
  assert.deepEqual([error.errno, error.path], [-2, '/nonexistent/plain'])
  await refused('WRONG_PASSPHRASE', Client.open({ home, passphrase: 's3cret' }))
  const locked = await Client.open({ home })
  await refused('LOCKED', locked.encrypt(Buffer.alloc(1)))
  await refused('NO_IDENTITY', Client.open({ home, identity: 'nobody', passphrase: 'x', ledger: '' }))
  me.close()
  await assert.rejects(me.encrypt(Buffer.alloc(1)), /closed/)
})
