/// <reference types="node" />
import type { Duplex, Readable, Writable } from 'node:stream'

/** What goes in: bytes in one piece, not to be changed before the promise is settled. */
export type Data = Buffer | ArrayBufferView | ArrayBuffer
/** A place of a file. */
export type Path = string | URL

/** An error of the catalogue (spec/API.md §3). */
export class KmsError extends Error {
  private constructor()
  /** Its name in the catalogue: `REVOKED`, `NO_QUORUM` … */
  code: string
  /** Its number in JSON-RPC. */
  number: number
  /** As Node has it: negative. */
  errno: number
  /** Of an error about a file. */
  path?: string
  /** What the catalogue has besides: `nodes` with each node's own words, `at` … */
  data: Record<string, unknown>
}

/** Of everything that can be given up. An operation that is aborted rejects with the signal's reason. */
export interface How {
  /** Whoever gives it up. */
  signal?: AbortSignal
  /** Seconds that the network may take. */
  timeout?: number
}
/** Whose client it is, and which network; everything has what kmsfs has configured as its default. */
export interface Opening {
  /** The directory of identity, contacts and configuration; left out, those of kmsfs. */
  home?: Path
  /** The name of the identity. */
  identity?: string
  /** Without it nothing is unlocked. */
  passphrase?: string
  /** Where the ledger is; empty is no network. This and what follows go before the configuration of kmsfs. */
  ledger?: string
  bootstrap?: string | string[]
  network?: string
  threshold?: string
  /** Seconds that each operation on the network may take. */
  timeout?: number
}
/** By what right something is opened: one's own without anything. */
export interface Right extends How {
  /** What its owner has sent. */
  ticket?: string
  /** Its key, which was fetched before; needs its owner. */
  key?: string
  /** Whose it must be. */
  owner?: string
}

/** An identity that was made; its words are shown this once. */
export interface NewKey { name: string, identity: string, recovery_words: string }
/** An identity on this machine. */
export interface Identity { name: string, identity: string, unlocked: boolean, until: number | null }
/** Somebody in the contacts. */
export interface Contact { name: string, identity: string, fingerprint: string, verified: boolean }
/** People under one name. */
export interface Group { name: string, members: string[] }
/** Data that was encrypted. */
export interface Sealed { sealed: Buffer, label: string, size: number }
/** A file that was encrypted. */
export interface SealedFile { label: string, size: number, sealed_size: number }
/** A file that was decrypted; one of a store has no label before it is shared. */
export interface DecryptedFile { owner: string, label: string | null, size: number }
/** A stream that was decrypted. */
export interface OpenedFile { owner: string, label: string, size: number }
/** Plaintext as it comes; what it was is known at its end. */
export interface PlainStream extends Readable, Readonly<Partial<OpenedFile>> {}
/** Plaintext on its way into an encrypted file; what that is is known when it has finished. */
export interface SealedStream extends Writable, Readonly<Partial<SealedFile>> {}
/** Plaintext goes in, and comes out encrypted. */
export interface EncryptStream extends Duplex, Readonly<Partial<SealedFile>> {}
/** What was encrypted goes in, and comes out as plaintext. */
export interface DecryptStream extends Duplex, Readonly<Partial<OpenedFile>> {}
/** Where what passes waits, encrypted, until it is complete: a directory, usually that for temporary files. */
export interface Waiting { dir?: string }
/** Data that was decrypted. */
export interface Opened extends OpenedFile { data: Buffer }
/** What a header says; nothing of it has been verified. */
export interface Header {
  version: number
  cipher: string
  store: string
  labels: Array<{ label: string, scheme: number, epoch: number }>
}
/** A grant that was made. */
export interface Grant {
  recipient: string
  who: string | null
  policy: string
  until: number
  threshold: string
  /** What the recipient must be given. */
  ticket: string
}
/** Access that was withdrawn; how many nodes have signed for the deletion, of how many. */
export interface Revocation {
  recipient: string
  who: string | null
  policy: string
  at: number
  removed: number
  nodes: number
  /** Whether the nodes that have not signed could go on opening it, if they all were dishonest: withdraw again, or encrypt anew. */
  quorum_left: boolean
}
/** Whoever has the key can open the data for ever. */
export interface Key { key: string, label: string, owner: string }
/** One of your grants. */
export interface GrantInfo {
  policy: string
  label: string
  recipient: string
  who: string | null
  state: 'preparing' | 'live' | 'revoking' | 'expired' | 'revoked'
  until: number
  created: number
  threshold: string
  nodes: string[]
  revoked: number | null
  /** As in `Revocation`. */
  quorum_left: boolean
}
/** What a ticket says. */
export interface Ticket {
  owner: string
  who: string | null
  store: string
  label: string
  kind: 'file' | 'dir'
  policy: string
  until: number
  threshold: string
  nodes: string[]
  revoked: number | null
}
/** A ticket that lies in a store of the filesystem. */
export interface StoredTicket extends Ticket { ticket: string, path: string, file: string | null }
/** How a policy is. */
export interface Health {
  policy: string
  state: GrantInfo['state']
  needed: number
  good: number
  nodes: Array<{ node: string, good: boolean, answer: string }>
}
/** What one node has noted. */
export interface NodeAudit {
  node: string
  good: boolean
  answer: string
  /** How many older entries it has dropped: it keeps so many of one grant and no more. */
  dropped: number
  /** How many requests, of this grant or others, it could not note since it has started. */
  lost: number
  entries: Array<{ at: number, recipient: string, who: string | null, outcome: string, capsules: number }>
}

/** Makes an identity and keeps it under a passphrase. Its 24 recovery words are shown this once. */
export function generateKey(passphrase: string, options?: { name?: string, home?: Path }): Promise<NewKey>

/** An identity of this machine at work. */
export class Client {
  private constructor()
  /** Opens an identity; without a passphrase only what needs no secret can be done. */
  static open(options?: Opening): Promise<Client>
  /** Forgets the identity's secret. Operations under way end with it. */
  close(): void
  /** The public key, `kms1…`. */
  identity(): Promise<string>
  /** Lists the identities on this machine. */
  identities(): Promise<Identity[]>
  /** Gives somebody's key a petname; `EXISTS` if the name has another key. */
  contactAdd(name: string, key: string): Promise<{ name: string, identity: string, added: boolean }>
  /** Forgets somebody, in groups too. */
  contactRemove(name: string): Promise<{ name: string, identity: string }>
  /** Notes that the key was compared with its owner, who has read its digits aloud. */
  contactVerify(name: string, fingerprint: string): Promise<Contact>
  /** Lists the contacts and the groups. */
  contacts(): Promise<{ contacts: Contact[], groups: Group[] }>
  /** Encrypts bytes under a new label, on which they can be granted. Asks nobody. */
  encrypt(data: Data, options?: How & { cipher?: string }): Promise<Sealed>
  /** Decrypts your own data, what a ticket lets you open, or with a key that was fetched before. */
  decrypt(sealed: Data, right?: Right): Promise<Opened>
  /** Encrypts a file of any size into a new one, which appears when it is complete. */
  encryptFile(source: Path, target: Path, options?: How & { cipher?: string }): Promise<SealedFile>
  /** Decrypts a file of any size into a new one, which appears when all of it has been verified. */
  decryptFile(source: Path, target: Path, right?: Right): Promise<DecryptedFile>
  /** The plaintext of an encrypted file of any size; nothing comes that was not verified. */
  createReadStream(source: Path, right?: Right): PlainStream
  /** A new encrypted file of any size, which appears when all is written. */
  createWriteStream(target: Path, options?: { cipher?: string, signal?: AbortSignal }): SealedStream
  /** For `pipeline`: encrypts what passes, as soon as all of it is there. */
  createEncrypt(options?: Waiting & { cipher?: string, signal?: AbortSignal }): EncryptStream
  /** For `pipeline`: decrypts what passes, as soon as all of it is there. */
  createDecrypt(right?: Right & Waiting): DecryptStream
  /** What the header says; nothing of it has been verified. */
  inspect(sealed: Data): Promise<Header>
  /** Shares what has a label: `bob,@team ttl=7d m=3/5`. */
  grant(label: string, terms: string, how?: How): Promise<Grant[]>
  /** Withdraws access; `who` names people, or is `*`. */
  revoke(label: string, who: string, how?: How): Promise<Revocation[]>
  /** Fetches the key of something shared with you; the first 4096 bytes are enough. */
  decryptKey(sealed: Data, ticket: string, how?: How): Promise<Key>
  /** Lists your grants, oldest first: of one label, or all. Asks nobody. */
  listGrants(label?: string): Promise<GrantInfo[]>
  /** What a ticket for you says. */
  openTicket(ticket: string): Promise<Ticket>
  /** What a store of the filesystem shares with you. */
  tickets(store: Path): Promise<StoredTicket[]>
  /** Whether the nodes of one of your policies would serve its recipient now. */
  policyHealth(policy: string, how?: How): Promise<Health>
  /** Who has used one of your grants, as its nodes have noted it. */
  audit(policy: string, how?: How): AsyncGenerator<NodeAudit, void, undefined>
}

declare const kms: { Client: typeof Client, KmsError: typeof KmsError, generateKey: typeof generateKey }
export default kms
