/** The names of API §3 that can happen here. */
export type Code =
  | 'INTERNAL' | 'BAD_TYPE' | 'BAD_KEY' | 'BAD_PARAMETER' | 'NO_NETWORK' | 'LOCKED' | 'WRONG_PASSPHRASE' | 'BAD_DATA'
  | 'TAMPERED' | 'NO_QUORUM' | 'TIMEOUT' | 'BAD_PROOFS' | 'NOT_GRANTED' | 'REVOKED' | 'EXPIRED' | 'NOT_OWNER'
  | 'NOT_FOR_YOU' | 'WRONG_KEY' | 'BUSY';

/** An error of the catalogue that all languages have. */
export class KmsError extends Error {
  readonly code: Code;
  /** Its number in JSON-RPC. */
  readonly number: number;
  /** As Node.js has it: negative. */
  readonly errno: number;
  /** What the catalogue has besides: `at` (seconds since 1970), `needed`, `good`, `nodes`, `owner`, `parameter`. */
  readonly data: Record<string, unknown>;
}

/** The module, loaded. */
export class Kms {
  private constructor();
  /** Loads `kms.wasm` from beside this file, or from elsewhere. */
  static load(source?: string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module): Promise<Kms>;
  /** An identity file and its passphrase. Takes 64 MiB for a moment, and blocks for a second or so. */
  identityFromFile(text: string, passphrase: string): Identity;
  /** `KMS-SECRET-KEY-1…` */
  identityFromSecret(text: string): Identity;
  /** The 24 recovery words. */
  identityFromWords(words: string): Identity;
}

/** By what right something is opened, and how. */
export interface OpenOptions {
  /** `kms-ticket-1-…` */
  ticket: string;
  /** Where the gateway is: `https://gateway.example`. */
  gateway: string | URL;
  /** The network's name; `kms-main` when left out. */
  network?: string;
  /** Whose it must be: `kms1…`. When left out, whoever made the ticket. */
  owner?: string;
  /** Seconds that fetching the key may take, 8 when left out. */
  timeout?: number;
  /** When it is aborted, what is under way rejects with its reason. */
  signal?: AbortSignal;
}

/** Somebody who opens things. */
export interface Identity {
  /** `kms1…` */
  readonly identity: string;
  /** Fetches the key; what is shared is decrypted when it is read. */
  open(source: Blob | ReadableStream<Uint8Array> | Response | BufferSource, options: OpenOptions): Promise<Opened>;
  /** Forgets the secret. */
  close(): void;
}

/** Something whose key was fetched. It can be read once. */
export interface Opened {
  /** Who made it: `kms1…`. */
  readonly owner: string;
  /** Its label. */
  readonly label: string;
  /** Bytes of plaintext. */
  readonly size: number;
  /** The plaintext in verified pieces of up to 8 MiB, of half a mebibyte as a rule. What has come when it fails is the verified beginning. */
  stream(): ReadableStream<Uint8Array>;
  /** All of it. */
  bytes(): Promise<Uint8Array>;
  /** All of it, as the browser keeps it. */
  blob(type?: string): Promise<Blob>;
  /** Forgets the key. */
  close(): void;
}
