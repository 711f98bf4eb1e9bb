// Does what the test says, one thing after another, and tells what came of it.
import { Kms } from './kms/index.mjs';

const kms = await Kms.load();

async function sha256(bytes) {
  const hash = await crypto.subtle.digest('SHA-256', bytes);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function identity({ file, passphrase, words }) {
  return file ? kms.identityFromFile(file, passphrase) : kms.identityFromWords(words);
}

/** The encrypted file, as somebody has altered it. */
async function altered(change) {
  const bytes = new Uint8Array(await (await fetch('sealed')).arrayBuffer());
  if (change === 'cut') return bytes.subarray(0, -1);
  if (change === 'longer') return new Blob([bytes, new Uint8Array(1)]);
  bytes[bytes.length - 5] ^= 1;
  return bytes.buffer;
}

const deeds = {
  async open({ who, options, change, read = 'stream' }) {
    const me = identity(who);
    const source = change ? await altered(change) : await fetch('sealed');
    const opened = await me.open(source, options);
    const { owner, label, size } = opened;
    let [bytes, pieces, largest] = [undefined, 0, 0];
    if (read === 'stream') {
      bytes = new Uint8Array(size);
      let at = 0;
      for await (const piece of opened.stream()) {
        pieces += 1;
        largest = Math.max(largest, piece.length);
        bytes.set(piece, at);
        at += piece.length;
      }
    } else if (read === 'blob') {
      bytes = await (await opened.blob('text/plain')).arrayBuffer();
    } else {
      bytes = await opened.bytes();
    }
    me.close();
    return { me: me.identity, owner, label, size, hash: await sha256(bytes), pieces, largest };
  },

  async abort({ who, options }) {
    const me = identity(who);
    const controller = new AbortController();
    const opening = me.open(await fetch('sealed'), { ...options, signal: controller.signal });
    controller.abort(new Error('enough'));
    return { resolved: Boolean(await opening) };
  },

  /** A program as it is printed, with what it takes for given; what it showed and said. */
  async printed({ program, given }) {
    const [pieces, said, log] = [[], [], console.log];
    Object.assign(globalThis, given, { show: (piece) => pieces.push(piece) });
    console.log = (line) => said.push(line);
    try {
      await import(URL.createObjectURL(new Blob([program], { type: 'text/javascript' })));
    } finally {
      console.log = log;
    }
    return { hash: await sha256(await new Blob(pieces).arrayBuffer()), said };
  },

  async knock({ url, ...init }) {
    const response = await fetch(url, init);
    return { status: response.status, text: await response.text() };
  },
};

let told = { ready: true };
for (;;) {
  const next = await (await fetch('next', { method: 'POST', body: JSON.stringify(told) })).json();
  if (!next) break;
  try {
    told = await deeds[next.deed](next);
  } catch (error) {
    told = { error: error.code ?? error.name, errno: error.errno, message: error.message, data: error.data };
  }
}
