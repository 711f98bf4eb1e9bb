import { Kms, KmsError, type Code, type Identity, type Opened } from 'kms-browser'

const kms: Kms = await Kms.load(new URL('https://app.example/kms.wasm'))
const bob: Identity = kms.identityFromFile('…', 'battery staple')
const how = { ticket: 'kms-ticket-1-…', gateway: new URL('https://gateway.example'), signal: AbortSignal.timeout(9) }
const film: Opened = await bob.open(await fetch('film.sealed'), how)
const size: number = film.size
const bytes: Uint8Array = await film.bytes()
const pieces: ReadableStream<Uint8Array> = film.stream()
const blob: Blob = await film.blob('video/mp4')
// @ts-expect-error a ticket is needed
await bob.open(blob, { gateway: 'https://gateway.example' })
// @ts-expect-error a name is not a source
await bob.open('film.sealed', how)
// @ts-expect-error it is loaded
new Kms()
try {
  await bob.open(new Uint8Array(9), how)
} catch (error) {
  if (error instanceof KmsError) {
    const code: Code = error.code
    console.log(code, error.number + error.errno, error.data.at, size, bytes, pieces)
  }
}
