// The recipient's side of kms for pages: reads, asks through a gateway and hands pieces to the module, which has the keys
// and decides what is believed.

const CALL = { identityFile: 1, identitySecret: 2, identityWords: 3, open: 4, poll: 5, answer: 6, next: 7, piece: 8, checkLen: 9, drop: 10 };
const HEADER_LEN = 4096;
const MAX_RESPONSE = 65536;
const DEFAULT_TIMEOUT = 8;
/** What a gateway's status says of the node. */
const FAULTS = { 408: 'local', 429: 'local', 503: 'local', 504: 'timeout' };

/** Each error's number in JSON-RPC, and its errno on Linux. */
const NUMBERS = {
  INTERNAL: [-32603, 5],
  BAD_TYPE: [-3, 22],
  BAD_KEY: [-5, 22],
  BAD_PARAMETER: [-8, 22],
  NO_NETWORK: [-9, 113],
  LOCKED: [-13, 126],
  WRONG_PASSPHRASE: [-14, 13],
  BAD_DATA: [-22, 74],
  TAMPERED: [-25, 5],
  NO_QUORUM: [-102, 113],
  TIMEOUT: [-103, 110],
  BAD_PROOFS: [-104, 129],
  NOT_GRANTED: [-105, 13],
  REVOKED: [-106, 128],
  EXPIRED: [-107, 127],
  NOT_OWNER: [-113, 1],
  NOT_FOR_YOU: [-114, 13],
  WRONG_KEY: [-115, 129],
  BUSY: [-120, 16],
};

/** An error of the catalogue that all languages have. */
export class KmsError extends Error {
  constructor(code, message, data = {}) {
    super(message);
    this.name = 'KmsError';
    this.code = code;
    const [number, errno] = NUMBERS[code];
    this.number = number;
    this.errno = -errno;
    this.data = data;
  }
}

/** The module, loaded. */
export class Kms {
  #exports;
  #ended = false;

  constructor(exports) {
    this.#exports = exports;
  }

  /** `source`: where `kms.wasm` is, if not beside this file; or a response, its bytes, or a compiled module. */
  static async load(source = new URL('./kms.wasm', import.meta.url)) {
    if (typeof source === 'string' || source instanceof URL) source = fetch(source, { credentials: 'same-origin' });
    source = await source;
    if (typeof Response !== 'undefined' && source instanceof Response) source = await source.arrayBuffer();
    const made = await WebAssembly.instantiate(source, {});
    return new Kms((made.instance ?? made).exports);
  }

  /** An identity file and its passphrase. Takes 64 MiB for a moment, and a second or so. */
  identityFromFile(text, passphrase) {
    return this.#identity(CALL.identityFile, text, passphrase);
  }

  /** `KMS-SECRET-KEY-1…` */
  identityFromSecret(text) {
    return this.#identity(CALL.identitySecret, text);
  }

  /** The 24 recovery words. */
  identityFromWords(words) {
    return this.#identity(CALL.identityWords, words);
  }

  #identity(call, ...secrets) {
    const made = this.call(call, 0, ...secrets);
    return new Identity(this, made.held, made.identity);
  }

  /** For the classes of this file. */
  call(call, on, ...args) {
    if (this.#ended) throw new KmsError('INTERNAL', 'the module has ended by a defect');
    const wasm = this.#exports;
    const all = args.map(toBytes);
    try {
      const at = wasm.kms_input(all.reduce((sum, it) => sum + 4 + it.length, 0)) >>> 0;
      const memory = new DataView(wasm.memory.buffer);
      let next = at;
      for (const bytes of all) {
        memory.setUint32(next, bytes.length, true);
        new Uint8Array(wasm.memory.buffer).set(bytes, next + 4);
        next += 4 + bytes.length;
      }
      const failed = wasm.kms_call(call, on);
      const output = new Uint8Array(wasm.memory.buffer, wasm.kms_output() >>> 0, wasm.kms_output_len() >>> 0);
      if (failed) {
        const error = JSON.parse(new TextDecoder().decode(output));
        throw new KmsError(error.code, error.message, error.data);
      }
      return call === CALL.piece ? output.slice() : JSON.parse(new TextDecoder().decode(output));
    } catch (error) {
      if (error instanceof KmsError) throw error;
      this.#ended = true;
      throw new KmsError('INTERNAL', `the module has ended by a defect: ${error.message}`);
    } finally {
      // Texts are copied here, and a passphrase is one.
      args.forEach((it, index) => typeof it === 'string' && all[index].fill(0));
    }
  }
}

/** Somebody who opens things. */
class Identity {
  #kms;
  #held;

  constructor(kms, held, identity) {
    this.#kms = kms;
    this.#held = held;
    this.identity = identity;
  }

  /** Fetches the key of something shared, and then decrypts it as it is read. */
  async open(source, { ticket, gateway, network = 'kms-main', owner = '', timeout = DEFAULT_TIMEOUT, signal } = {}) {
    if (this.#held === undefined) throw new KmsError('LOCKED', 'this identity is closed');
    for (const [name, text] of Object.entries({ ticket, gateway, network, owner })) {
      if (typeof text !== 'string' && !(text instanceof URL)) {
        throw new KmsError('BAD_TYPE', `${name} must be a text`, { parameter: name });
      }
    }
    if (!(timeout > 0)) throw new KmsError('BAD_PARAMETER', 'timeout must be seconds', { parameter: 'timeout' });
    const kms = this.#kms;
    const sealed = await unless(signal, asBlob(source));
    const header = await unless(signal, bytesOf(sealed, 0, HEADER_LEN));
    const opened = kms.call(CALL.open, this.#held, header, ticket, String(owner), network, now(), BigInt(Math.ceil(timeout * 1000)));
    try {
      const { size } = await new Fetching(kms, opened.held, String(gateway), timeout, signal).run();
      kms.call(CALL.checkLen, opened.held, BigInt(sealed.size));
      return new Opened(kms, sealed, signal, { ...opened, size });
    } catch (error) {
      kms.call(CALL.drop, opened.held);
      throw error;
    }
  }

  /** Forgets the secret. */
  close() {
    if (this.#held !== undefined) this.#kms.call(CALL.drop, this.#held);
    this.#held = undefined;
  }
}

/** Something whose key was fetched. It can be read once. */
class Opened {
  #kms;
  #sealed;
  #signal;
  #held;
  #isRead = false;

  constructor(kms, sealed, signal, { held, owner, label, size }) {
    this.#kms = kms;
    this.#sealed = sealed;
    this.#signal = signal;
    this.#held = held;
    this.owner = owner;
    this.label = label;
    this.size = size;
  }

  /** The plaintext in verified pieces. What has come when it fails is the verified beginning. */
  stream() {
    if (this.#isRead) throw new KmsError('BUSY', 'this is being read already, or was');
    this.#isRead = true;
    return new ReadableStream(
      {
        pull: async (controller) => {
          try {
            const piece = await this.#next();
            if (piece) controller.enqueue(piece);
            else controller.close();
          } catch (error) {
            this.close();
            throw error;
          }
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 0 },
    );
  }

  /** All of it, if it fits into memory. */
  async bytes() {
    const all = new Uint8Array(this.size);
    let at = 0;
    const reader = this.stream().getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return all;
      all.set(value, at);
      at += value.length;
    }
  }

  /** All of it as the browser keeps it. */
  async blob(type = '') {
    // Each piece by itself: browsers keep large blobs elsewhere than in memory. A response of the stream would say of every
    // error no more than that there was one.
    const pieces = [];
    const reader = this.stream().getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return new Blob(pieces, { type });
      pieces.push(new Blob([value]));
    }
  }

  /** Forgets the key. */
  close() {
    this.#isRead = true;
    if (this.#held !== undefined) this.#kms.call(CALL.drop, this.#held);
    this.#held = undefined;
  }

  async #next() {
    const extents = this.#kms.call(CALL.next, this.#held);
    if (extents.length === 0) return this.close();
    // Pages and the chunks that they cover, one behind the other.
    const parts = new Blob(extents.map(([offset, len]) => this.#sealed.slice(offset, offset + len)));
    const bytes = await unless(this.#signal, bytesOf(parts, 0, parts.size));
    return this.#kms.call(CALL.piece, this.#held, bytes);
  }
}

/** A key being fetched: the module says whom to ask, this asks. */
class Fetching {
  #kms;
  #held;
  #gateway;
  #end;
  #outer;
  #own = new AbortController();
  #answers = [];
  #wake = () => {};
  #heard = false;
  #why = '';

  constructor(kms, held, gateway, timeout, signal) {
    this.#kms = kms;
    this.#held = held;
    this.#gateway = gateway.replace(/\/+$/, '');
    this.#end = Date.now() + timeout * 1000;
    this.#outer = signal;
  }

  async run() {
    const cancel = () => this.#own.abort();
    this.#outer?.addEventListener('abort', cancel);
    try {
      for (;;) {
        this.#outer?.throwIfAborted();
        for (const [id, fault, bytes] of this.#answers.splice(0)) {
          this.#kms.call(CALL.answer, this.#held, BigInt(id), now(), fault, bytes);
        }
        const { done, asks, wait } = this.#kms.call(CALL.poll, this.#held, now(), entropy());
        if (done) return done;
        for (const ask of asks) this.#ask(ask);
        await this.#sleep(wait);
      }
    } catch (error) {
      const unheard = ['NO_QUORUM', 'TIMEOUT'].includes(error.code) && !this.#heard && this.#why;
      throw unheard ? new KmsError('NO_NETWORK', this.#why) : error;
    } finally {
      this.#outer?.removeEventListener('abort', cancel);
      this.#own.abort();
    }
  }

  async #ask({ id, node, message }) {
    let fault = '';
    let bytes = new Uint8Array();
    try {
      const response = await fetch(`${this.#gateway}/v1/node/${node}`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream' },
        body: fromBase64(message),
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
        signal: this.#own.signal,
      });
      if (response.ok) bytes = await atMost(response.body, MAX_RESPONSE);
      else fault = FAULTS[response.status] ?? 'unreachable';
      this.#heard ||= response.ok || response.status !== 403;
    } catch {
      fault = 'unreachable';
      this.#why = `the gateway ${this.#gateway} cannot be reached, or does not serve this page`;
    }
    this.#answers.push([id, fault, bytes]);
    this.#wake();
  }

  #sleep(wait) {
    const left = Math.min(wait, Math.max(0, this.#end - Date.now()) + 1);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, left);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#own.signal.addEventListener('abort', this.#wake, { once: true });
      if (this.#answers.length > 0 || this.#own.signal.aborted) this.#wake();
    });
  }
}

/** Whatever holds encrypted bytes, so that they can be read anywhere. The browser keeps what a stream brings. */
async function asBlob(source) {
  if (source instanceof Blob) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return new Blob([source]);
  if (source instanceof ReadableStream) source = new Response(source);
  if (source instanceof Response) return source.blob();
  throw new KmsError('BAD_TYPE', 'what is to be opened must be a Blob, a stream, a response or bytes', { parameter: 'source' });
}

async function bytesOf(blob, start, end) {
  return new Uint8Array(await blob.slice(start, end).arrayBuffer());
}

function toBytes(argument) {
  if (typeof argument === 'string') return new TextEncoder().encode(argument);
  if (typeof argument === 'bigint') return new Uint8Array(new BigUint64Array([argument]).buffer);
  return argument;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Reads a body, and one that is too long only so far that this shows. */
async function atMost(body, limit) {
  const parts = [];
  let len = 0;
  const reader = body.getReader();
  while (len <= limit) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    len += value.length;
  }
  if (len > limit) await reader.cancel();
  return bytesOf(new Blob(parts), 0, limit + 1);
}

let latest = 0;
/** Milliseconds since 1970, never going back. */
function now() {
  latest = Math.max(latest, Date.now());
  return BigInt(latest);
}

function entropy() {
  return crypto.getRandomValues(new Uint8Array(32));
}

/** What is waited for, unless it is not wanted any more. */
async function unless(signal, promise) {
  if (!signal) return promise;
  signal.throwIfAborted();
  let stop;
  const aborted = new Promise((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', stop));
}
