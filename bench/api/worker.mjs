// Does what `scripts/bench api` asks for, from JavaScript: worker.mjs PACKAGE; examples/api_worker.rs says what there is.
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'

const { Client } = await import(process.argv[2])
const me = await Client.open({ passphrase: process.env.PASSPHRASE })

async function timed (work) {
  const [wall, used] = [performance.now(), process.cpuUsage()]
  const result = await work()
  const { user, system } = process.cpuUsage(used)
  return [[(performance.now() - wall) / 1e3, (user + system) / 1e6], result]
}

async function answer (asked) {
  if (asked.op === 'bytes') {
    const data = Buffer.alloc(asked.size, 7)
    const [encrypting, { sealed }] = await timed(() => me.encrypt(data))
    const [decrypting, opened] = await timed(() => me.decrypt(sealed))
    if (!opened.data.equals(data)) throw new Error('it did not come back as it was')
    return [encrypting, decrypting]
  }
  if (asked.op === 'files') {
    const [encrypting] = await timed(() => me.encryptFile(asked.plain, asked.sealed))
    const [decrypting] = await timed(() => me.decryptFile(asked.sealed, asked.back))
    return [encrypting, decrypting]
  }
  const sealed = await readFile(asked.sealed)
  const took = []
  for (let n = 0; n < asked.times; n++) took.push((await timed(() => me.decryptKey(sealed, asked.ticket)))[0])
  return took
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))))
  globalThis.gc?.()
}
process.exit(0)
