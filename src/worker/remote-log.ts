/** Messages between a scheduler and a remote worker, as entries of two logs of a store. See rfc/25, rules 22
 *  and 23.
 *  Invariant: messages come in the order in which they were sent, each once, over lost connections and
 *  restarts of a server. Each end drops what it has read, so that a log keeps what is not read yet, and
 *  some more. */

import type { Kvs } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import type { Guard, Op } from '../api/transaction.js'
import { count, list, shapeOf, text, within } from '../base/shape.js'
import { pause } from '../base/timer.js'
import { decode, encodeFrame } from '../blob/codec.js'
import { StreamHash } from '../blob/hash.js'
import { type Code, isCode, TailraceError } from '../error.js'
import type { Envelope } from './batches.js'
import { isBytes, type MessagePart, type PlacedPart } from './link.js'
import { workersNamespace } from './offers.js'

/** The largest size of a part that stands in the log itself, in bytes. */
const inlineSizeMax = 8 * 1024
/** The size above which a part is stored by a write of its own, in bytes. */
const directSizeMax = 1024 * 1024
/** The size of messages and parts above which a commit takes no more of them, in bytes. */
const commitSizeMax = 2 * 1024 * 1024
/** The number of parts that one commit removes, and of operations above which it takes no more messages. */
const [removalsMax, opsAtOnce] = [512, 1_024]
/** The number of entries that were read after which they are dropped, if nothing is sent before. */
const readEntriesMax = 256
/** The number of times that a part is sent to be stored, and the wait behind the first time, in ms. It is
 *  doubled each time. */
const [storeTriesMax, storeRetryMs] = [7, 100]
/** Codes of a put that may succeed if it is sent again. */
const passing: readonly Code[] = ['ECLOSED', 'EUNKNOWN', 'ETIMEDOUT', 'EBUSY']
/** The number of parts that are read at the same time. */
const readsMax = 8

const placedPart = within(
  shapeOf<PlacedPart>({ key: text, namespace: text, at: count, size: count, hash: text }, [
    ...(['key', 'namespace'] as const),
  ]),
)

/** A message, with parts that the receiver may have to fetch. */
export type RemoteEnvelope = Envelope<MessagePart>

/** A message of either end. */
export type RemoteMessage =
  /** Messages of the protocol of rule 8. */
  | { readonly type: 'batch'; readonly envelopes: readonly RemoteEnvelope[] }
  /** Gives calls back, by their numbers, that have not begun. */
  | { readonly type: 'take'; readonly seqs: readonly number[] }
  /** Tells which calls were given back, in the order of the questions. */
  | { readonly type: 'took'; readonly seqs: readonly number[] }
  /** The process that calls functions is gone. `isLeave`: the worker itself has ended it. */
  | { readonly type: 'ended'; readonly why: string; readonly isLeave: boolean }

/** All that an outlet writes with. */
export type OutletPorts = {
  readonly store: Store
  /** The log. Large parts are stored beside it. */
  readonly key: string
  /** The log of the other end, whose entries are dropped once they are read. */
  readonly reads: string
  /** The guards of each write. */
  readonly guards: readonly Guard[]
  readonly signal: AbortSignal
  /** True to tell the size and the hash of each part that does not stand in the log. */
  readonly tellsHashes: boolean
  /** Hears of the write that failed; nothing is written after it. */
  readonly failed: (error: unknown) => void
}

/** Writes messages to a log. One commit at a time is on its way, and the next one takes all that was sent
 *  meanwhile. Mutable; owned by one end of a link. */
export class Outlet {
  readonly #ports: OutletPorts
  #messages: RemoteMessage[] = []
  #removals: string[] = []
  #parts = 0
  /** The number of entries of the other log that were read, and that were dropped. */
  #read = 0
  #dropped = 0
  #writing: Promise<void> | undefined
  #hasFailed = false

  constructor(ports: OutletPorts) {
    this.#ports = ports
  }

  /** Sends a message, all of one turn in one commit, if that holds them. */
  send(message: RemoteMessage): void {
    // One by one, so that a commit takes as many as it holds.
    if (message.type === 'batch') this.#messages.push(...message.envelopes.map(alone))
    else this.#messages.push(message)
    this.#start()
  }

  /** Hears that so many entries of the other log were read. */
  hasRead(entries: number): void {
    this.#read = entries
    if (this.#read - this.#dropped >= readEntriesMax) this.#start()
  }

  /** Removes a part that was fetched, with the next commit. */
  remove(key: string): void {
    this.#removals.push(key)
  }

  /** Resolves once all is written, or nothing can be written any more. */
  async flushed(): Promise<void> {
    await this.#writing
  }

  #start(): void {
    this.#writing ??= Promise.resolve().then(() => this.#write())
  }

  get #hasWork(): boolean {
    return this.#messages.length > 0 || this.#read - this.#dropped >= readEntriesMax
  }

  /** Never throws. */
  async #write(): Promise<void> {
    try {
      while (this.#hasWork && !this.#hasFailed) await this.#commit()
    } catch (error) {
      this.#hasFailed = true
      this.#ports.failed(error)
    } finally {
      this.#writing = undefined
    }
  }

  async #commit(): Promise<void> {
    const { store, key, reads, guards, signal } = this.#ports
    const ops: Op[] = this.#removals
      .splice(0, removalsMax)
      .map((removed) => ({ op: 'unlink', key: removed }))
    if (this.#read > this.#dropped) ops.push({ op: 'trim', key: reads, before: this.#read })
    this.#dropped = this.#read
    const encoded: unknown[] = []
    let size = 0
    while (this.#messages.length > 0 && size < commitSizeMax && ops.length < opsAtOnce) {
      const message = this.#messages.shift()
      if (!message) break
      const before = ops.length
      const entry = await this.#encoded(message, ops)
      encoded.push(entry)
      size += encodeFrame(entry).length
      for (const op of ops.slice(before)) size += sizeOf(op)
    }
    // A copy, since an encoded frame is a slice of a pool.
    const value = Uint8Array.from(encodeFrame(encoded))
    if (encoded.length > 0) ops.push({ op: 'append', key, value })
    const scope = { namespace: workersNamespace, exactlyOnce: true, signal, transfer: true }
    await store.commit({ guards, ops }, scope)
  }

  async #encoded(message: RemoteMessage, ops: Op[]): Promise<unknown> {
    if (message.type !== 'batch') return message
    const envelopes: unknown[] = []
    for (const { body, parts } of message.envelopes) {
      const placed: MessagePart[] = []
      for (const part of parts) placed.push(await this.#placed(part, ops))
      envelopes.push([body, placed])
    }
    return { type: 'batch', envelopes }
  }

  /** Returns a part as it stands in the log. A large one is stored under a key of its own. */
  async #placed(part: MessagePart, ops: Op[]): Promise<MessagePart> {
    if (!isBytes(part) || part.length <= inlineSizeMax) return part
    // Each end has keys of its own.
    const key = `${this.#ports.key}-${this.#parts++}`
    if (part.length <= directSizeMax) ops.push({ op: 'put', key, value: part })
    else await this.#store(key, part)
    const told = this.#ports.tellsHashes ? { size: part.length, hash: hashOf(part) } : {}
    return { key, namespace: workersNamespace, ...told }
  }

  /** Stores a part, and sends it again where nobody can tell if it was stored. */
  async #store(key: string, part: Uint8Array): Promise<void> {
    const { store, guards, signal } = this.#ports
    for (let tries = 1; ; tries++) {
      try {
        await store.put(key, once(part), { namespace: workersNamespace, guards, signal })
        return
      } catch (error) {
        const isPassing = passing.some((code) => isCode(error, code))
        if (!isPassing || tries === storeTriesMax || signal.aborted) throw error
      }
      await pause(storeRetryMs * 2 ** (tries - 1), signal)
    }
  }
}

/** Returns the BLAKE3 of bytes, 64 hex digits. */
function hashOf(bytes: Uint8Array): string {
  using hash = new StreamHash()
  for (let at = 0; at < bytes.length; at += directSizeMax) {
    hash.update(bytes.subarray(at, at + directSizeMax))
  }
  return hash.digest().toString('hex')
}

function alone(envelope: RemoteEnvelope): RemoteMessage {
  return { type: 'batch', envelopes: [envelope] }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

function sizeOf(op: Op): number {
  return op.op === 'put' && op.value instanceof Uint8Array ? op.value.length : 0
}

/** Yields the messages of a log, from its first one on. `hasRead` hears how many entries were yielded.
 *  Throws EIO (what stands there is none), and what
 *  `Kvs.watch` throws. */
export async function* messagesOf(
  store: Kvs,
  key: string,
  signal: AbortSignal,
  hasRead: (entries: number) => void,
): AsyncGenerator<RemoteMessage, void, undefined> {
  const scope = { namespace: workersNamespace, signal }
  const watching = store.watch(key, { mode: 'append', waitCreate: true, ...scope })
  let pieces: Uint8Array[] = []
  for await (const event of watching) {
    if (event.type !== 'append') continue
    pieces.push(event.data)
    if (event.more) continue
    const bytes = pieces.length === 1 ? event.data : Buffer.concat(pieces)
    pieces = []
    const entries = decode(bytes)
    if (!Array.isArray(entries)) throw unread()
    for (const entry of entries) yield parseMessage(entry)
    hasRead(event.index + 1)
  }
}

/** Returns messages with the bytes of their parts. `fetched` hears of each that was read. */
export async function withBytes(
  store: Kvs,
  envelopes: readonly RemoteEnvelope[],
  fetched: (part: PlacedPart) => void,
  signal: AbortSignal,
): Promise<readonly Envelope[]> {
  const placed = envelopes.flatMap(({ parts }) => parts.filter((part) => !isBytes(part)))
  const read = new Map<MessagePart, Uint8Array>()
  for (let at = 0; at < placed.length; at += readsMax) {
    const some = placed.slice(at, at + readsMax) as readonly PlacedPart[]
    await Promise.all(
      some.map(async (part) => {
        const { key, ...scope } = part
        const bytes = await store.get(key, { ...scope, signal })
        if (!bytes) throw new TailraceError('ENOENT', `the input at ${key} is gone`)
        read.set(part, bytes)
        fetched(part)
      }),
    )
  }
  return envelopes.map(({ body, parts }) => ({
    body,
    parts: parts.map((part) => (isBytes(part) ? part : (read.get(part) ?? new Uint8Array()))),
  }))
}

function parseMessage(entry: unknown): RemoteMessage {
  const message = entry as Partial<Record<string, unknown>>
  if (typeof entry !== 'object' || entry === null) throw unread()
  const { type, seqs, envelopes, why, isLeave } = message
  if (type === 'batch' && Array.isArray(envelopes)) {
    return { type, envelopes: envelopes.map(parseEnvelope) }
  }
  if ((type === 'take' || type === 'took') && Array.isArray(seqs) && seqs.every(count.is)) {
    return { type, seqs }
  }
  if (type === 'ended' && text.is(why)) {
    return { type, why: String(why), isLeave: isLeave === true }
  }
  throw unread()
}

function parseEnvelope(entry: unknown): RemoteEnvelope {
  const [body, parts]: unknown[] = list.is(entry) ? (entry as unknown[]) : []
  if (!Array.isArray(parts)) throw unread()
  return { body, parts: parts.map(parsePart) }
}

function parsePart(part: unknown): MessagePart {
  // Memory of its own, so that the items of typed arrays are aligned.
  if (part instanceof Uint8Array) return Uint8Array.from(part)
  if (!placedPart.is(part)) throw unread()
  return part as PlacedPart
}

function unread(): TailraceError {
  return new TailraceError('EIO', 'a worker and its scheduler do not understand each other')
}
