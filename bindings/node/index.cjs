'use strict'

const path = require('node:path')
const { Core } = require('./kms.node')
const streams = require('./streams.cjs')

/** An error of the catalogue (spec/API.md §3). */
class KmsError extends Error {
  constructor ({ code, number, errno, message, data }) {
    super(message)
    this.name = 'KmsError'
    this.code = code
    this.number = number
    this.errno = -errno
    this.data = data
    if (data.path !== undefined) this.path = data.path
  }
}

/** What the native side throws, as it is meant. */
function meant (error) {
  try {
    return new KmsError(JSON.parse(error.message))
  } catch {
    return error
  }
}

/** A promise of the native side, with its errors as they are meant. */
async function promised (work) {
  try {
    return await work
  } catch (error) {
    throw meant(error)
  }
}

/** A reader or a writer of the native side, with its errors as they are meant. */
const meaning = it => Object.fromEntries(
  ['next', 'done', 'write', 'finish', 'close'].filter(name => name in it).map(name => [name, (...args) => promised(it[name](...args))]))

const absolute = place => path.resolve(place instanceof URL ? require('node:url').fileURLToPath(place) : String(place))

/** Bytes in one piece, whatever holds them. */
function bytes (name, data) {
  if (Buffer.isBuffer(data)) return { name, bytes: data }
  if (ArrayBuffer.isView(data)) return { name, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength) }
  if (data instanceof ArrayBuffer) return { name, bytes: Buffer.from(data) }
  throw new TypeError(`${name} must be a Buffer, a Uint8Array or an ArrayBuffer`)
}

function opening ({ home, identity, passphrase, ledger, bootstrap, network, threshold } = {}) {
  if (Array.isArray(bootstrap)) bootstrap = bootstrap.join(',')
  if (home !== undefined) home = absolute(home)
  return JSON.stringify({ home, identity, passphrase, ledger, bootstrap, network, threshold })
}

/** Makes an identity and keeps it under a passphrase. */
async function generateKey (passphrase, { name, home } = {}) {
  const keyring = new Client(await open({ home, identity: name }), undefined)
  return keyring._call('generate_key', { passphrase })
}

const open = async options => promised(Core.open(opening(options)))

class Client {
  #core
  #timeout
  #number = 0

  constructor (core, timeout) {
    if (!(core instanceof Core)) throw new TypeError('use Client.open()')
    this.#core = core
    this.#timeout = timeout
  }

  static async open (options = {}) {
    return new Client(await open(options), options.timeout)
  }

  /** Forgets the identity's secret. Operations under way end with it. */
  close () {
    this.#core = undefined
  }

  async [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')] () {
    this.close()
  }

  #opened () {
    if (this.#core === undefined) throw new Error('the client is closed')
    return this.#core
  }

  #next () {
    this.#number = (this.#number + 1) >>> 0
    return this.#number
  }

  async _call (operation, params, data, { signal, timeout } = {}) {
    const core = this.#opened()
    signal?.throwIfAborted()
    const number = this.#next()
    const cancel = () => core.cancel(number)
    signal?.addEventListener('abort', cancel, { once: true })
    try {
      const given = await core.call(number, operation, JSON.stringify(params), data, timeout ?? this.#timeout)
      const document = JSON.parse(given.document)
      if (typeof given.name === 'string') document[given.name] = given.bytes
      return document
    } catch (error) {
      signal?.throwIfAborted()
      throw meant(error)
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }

  async identity () { return (await this._call('identity', {})).identity }
  async identities () { return (await this._call('identities', {})).identities }
  contactAdd (name, key) { return this._call('contact_add', { name, key }) }
  contactRemove (name) { return this._call('contact_remove', { name }) }
  contactVerify (name, fingerprint) { return this._call('contact_verify', { name, fingerprint }) }
  contacts () { return this._call('contacts', {}) }

  async encrypt (data, { cipher, ...how } = {}) {
    return this._call('encrypt', { cipher }, bytes('data', data), how)
  }

  async decrypt (sealed, { ticket, key, owner, ...how } = {}) {
    return this._call('decrypt', { ticket, key, owner }, bytes('sealed', sealed), how)
  }

  async encryptFile (source, target, { cipher, ...how } = {}) {
    return this._call('encrypt_file', { source: absolute(source), target: absolute(target), cipher }, undefined, how)
  }

  async decryptFile (source, target, { ticket, key, owner, ...how } = {}) {
    const params = { source: absolute(source), target: absolute(target), ticket, key, owner }
    return this._call('decrypt_file', params, undefined, how)
  }

  /** The plaintext of an encrypted file, verified before it comes. */
  createReadStream (source, { ticket, key, owner, timeout = this.#timeout, ...how } = {}) {
    const [core, number] = [this.#opened(), this.#next()]
    const params = JSON.stringify({ source: absolute(source), ticket, key, owner })
    const open = async () => meaning(await promised(core.reader(number, params, timeout)))
    return new streams.Plain({ open, cancel: () => core.cancel(number) }, how)
  }

  /** A new encrypted file, which appears when it is complete. */
  createWriteStream (target, { cipher, ...how } = {}) {
    const core = this.#opened()
    const params = JSON.stringify({ target: absolute(target), cipher })
    return new streams.Sealing({ open: async () => meaning(await promised(core.writer(params))) }, how)
  }

  /** Encrypts what passes through. */
  createEncrypt ({ cipher, ...how } = {}) {
    this.#opened()
    return streams.encrypting(place => this.createWriteStream(place, { cipher }), how)
  }

  /** Decrypts what passes through. */
  createDecrypt ({ ticket, key, owner, timeout, ...how } = {}) {
    this.#opened()
    return streams.decrypting(place => this.createReadStream(place, { ticket, key, owner, timeout }), how)
  }

  async inspect (sealed) { return this._call('inspect', {}, bytes('sealed', sealed)) }
  async grant (label, terms, how) { return (await this._call('grant', { label, terms }, undefined, how)).grants }
  async revoke (label, who, how) { return (await this._call('revoke', { label, who }, undefined, how)).revoked }
  async decryptKey (sealed, ticket, how) { return this._call('decrypt_key', { ticket }, bytes('sealed', sealed), how) }
  async listGrants (label) { return (await this._call('list_grants', { label })).grants }
  async openTicket (ticket) { return this._call('open_ticket', { ticket }) }
  async tickets (store) { return (await this._call('tickets', { store: absolute(store) })).tickets }
  async policyHealth (policy, how) { return this._call('policy_health', { policy }, undefined, how) }

  /** Each node's own word, one after another. */
  async * audit (policy, how) {
    yield * (await this._call('audit', { policy }, undefined, how)).nodes
  }
}

module.exports = { Client, KmsError, generateKey }
