// Somebody who shares, opens or withdraws a file in JavaScript: actor.mjs PACKAGE share|open|revoke …
const [place, verb, ...args] = process.argv.slice(2)
const { Client } = await import(place)
const me = await Client.open({ passphrase: process.env.PASSPHRASE })

async function act () {
  if (verb === 'share') {
    const [source, target, terms] = args
    const { label } = await me.encryptFile(source, target)
    const [{ ticket }] = await me.grant(label, terms)
    return { label, ticket }
  }
  if (verb === 'open') {
    const [source, target, ticket] = args
    return { size: (await me.decryptFile(source, target, { ticket })).size }
  }
  return { revoked: (await me.revoke(...args)).length }
}

const said = await act().catch(error => ({ error: error.code, errno: -error.errno }))
console.log(JSON.stringify(said))
process.exit(0)
