// What a program in TypeScript may write.
import kms, { Client, KmsError, generateKey } from 'kms'

const made = await generateKey('pass', { name: 'work' })
const words: string = made.recovery_words
const me: Client = await Client.open({ passphrase: 'pass', bootstrap: ['/ip4/…'], timeout: 5 })
const { sealed, label } = await me.encrypt(new Uint8Array(4), { cipher: 'aes-256-gcm' })
const [grant] = await me.grant(label, 'bob ttl=7d', { signal: AbortSignal.timeout(1000) })
const plain: Buffer = (await me.decrypt(sealed, { ticket: grant!.ticket })).data
for await (const node of me.audit(grant!.policy)) console.log(node.entries.length, words, plain)
try {
  await kms.Client.open()
} catch (error) {
  if (error instanceof KmsError) console.log(error.code, error.data.nodes)
}
import { pipeline } from 'node:stream/promises'
const sealing = me.createEncrypt({ cipher: 'aes-256-gcm', signal: AbortSignal.timeout(1000) })
await pipeline(process.stdin, sealing, process.stdout)
const shareAs: string | undefined = sealing.label
for await (const chunk of me.createReadStream('plan.sealed', { ticket: grant!.ticket })) console.log(chunk, shareAs)
await pipeline(me.createReadStream('plan.sealed'), me.createDecrypt({ dir: '/var/tmp' }), me.createWriteStream('again.sealed'))
// @ts-expect-error: text is no data
await me.encrypt('text')
