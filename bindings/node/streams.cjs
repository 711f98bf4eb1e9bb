'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { addAbortSignal, Duplex, Readable, Writable } = require('node:stream')

/** Pieces of so many bytes are gathered before they pass to the native side. */
const GATHERED = 1 << 19

/** Not by the constructor's own option: a signal that was given before would end what is not yet made. */
function abortable (signal, stream) {
  if (signal !== undefined) addAbortSignal(signal, stream)
}

/** The plaintext of an encrypted file. `open` gives a reader, and `cancel` gives that up. */
class Plain extends Readable {
  #open
  #cancel
  #opening
  #isOpen = false

  constructor ({ open, cancel }, { signal }) {
    super()
    this.#open = open
    this.#cancel = cancel
    abortable(signal, this)
  }

  async #reader () {
    const reader = await this.#open()
    this.#isOpen = true
    this.emit('open')
    return reader
  }

  async _read () {
    try {
      this.#opening ??= this.#reader()
      const reader = await this.#opening
      const piece = await reader.next()
      if (piece === null) Object.assign(this, JSON.parse(await reader.done()))
      if (!this.destroyed) this.push(piece)
    } catch (error) {
      this.destroy(error)
    }
  }

  _destroy (error, done) {
    if (this.#opening === undefined) return done(error)
    if (!this.#isOpen) this.#cancel()
    this.#opening.then(reader => reader.close()).catch(() => {}).then(() => done(error))
  }
}

/** A file that is written encrypted. `open` gives a writer. */
class Sealing extends Writable {
  #open
  #writer

  constructor ({ open }, { signal }) {
    super({ highWaterMark: GATHERED })
    this.#open = open
    abortable(signal, this)
  }

  _construct (done) {
    this.#open().then(writer => { this.#writer = writer; done() }, done)
  }

  _write (chunk, encoding, done) {
    this.#writer.write(chunk).then(() => done(), done)
  }

  _writev (chunks, done) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'buffer', done)
  }

  _final (done) {
    this.#writer.finish().then(told => { Object.assign(this, JSON.parse(told)); done() }, done)
  }

  _destroy (error, done) {
    if (this.#writer === undefined) return done(error)
    this.#writer.close().then(() => done(error), done)
  }
}

/**
 * What is written comes out at the other end, encrypted or decrypted, when all of it is there: the header comes first and is
 * known last. In between it waits, encrypted, in a file that nobody else can read.
 */
class Through extends Duplex {
  #into
  #from
  #dir
  #place

  /** `into` makes what writes to a place, `from` what reads from it. */
  constructor ({ into, from }, { signal, dir = os.tmpdir() }) {
    super({ writableHighWaterMark: GATHERED })
    this.#into = into
    this.#from = from
    this.#dir = dir
    abortable(signal, this)
  }

  _construct (done) {
    fs.mkdtemp(path.join(this.#dir, 'kms-'), (error, dir) => {
      if (error) return done(error)
      this.#place = path.join(dir, 'waiting')
      this.#into = this.#into(this.#place).on('error', error => this.destroy(error))
      this.#dir = dir
      done()
    })
  }

  _write (chunk, encoding, done) {
    this.#into.write(chunk, done)
  }

  _final (done) {
    this.#into.end(() => {
      this.#told(this.#into)
      this.#from = this.#from(this.#place)
        .on('open', () => this.#remove(() => {}))
        .on('data', chunk => { if (!this.push(chunk)) this.#from.pause() })
        .on('end', () => { this.#told(this.#from); this.push(null) })
        .on('error', error => this.destroy(error))
      done()
    })
  }

  _read () {
    if (this.#from instanceof Readable) this.#from.resume()
  }

  _destroy (error, done) {
    if (this.#place === undefined) return done(error)
    this.#into.destroy()
    if (this.#from instanceof Readable) this.#from.destroy()
    this.#remove(() => done(error))
  }

  #told ({ owner, label, size, sealed_size: sealedSize }) {
    if (owner !== undefined) this.owner = owner
    if (label !== undefined) Object.assign(this, { label, size })
    if (sealedSize !== undefined) this.sealed_size = sealedSize
  }

  #remove (done) {
    fs.rm(this.#dir, { recursive: true, force: true }, () => done())
  }
}

/** Encrypts what passes. `seal` makes a [`Sealing`] of a place. */
const encrypting = (seal, options) => new Through({ into: seal, from: place => fs.createReadStream(place) }, options)

/** Decrypts what passes. `open` makes a [`Plain`] of a place. */
const decrypting = (open, options) =>
  new Through({ into: place => fs.createWriteStream(place, { mode: 0o600, flags: 'wx' }), from: open }, options)

module.exports = { Plain, Sealing, encrypting, decrypting }
