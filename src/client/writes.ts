/** The writes of a store, over a server: transactions, puts, appends. See rfc/12, rules 16, 18, 20,
 *  21 and 37.
 *  Invariant: a write is sent once; if nobody can tell whether it was done, it is EUNKNOWN. With
 *  `exactlyOnce` it is sent again until it is answered, and is done once; with `resend` it is sent
 *  again as it is. A small write is handed to the road in the turn of its call, so that small writes
 *  keep the order of their calls. */

import type { AppendOptions, CommitOptions, PutOptions } from '../api/kvs.js'
import {
  type Cap,
  type Capping,
  type Committed,
  type CommittedOp,
  type Expiry,
  type Op,
  type Transaction,
  transactionSizeMax,
  type Value,
} from '../api/transaction.js'
import { joinAbort } from '../base/abort.js'
import { join } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { encodeText } from '../wire/bytes.js'
import { appendKey, putKey, root } from '../wire/keys.js'
import type { ArgsOf } from '../wire/request.js'
import { txn } from '../wire/transaction.js'
import { Again, type AgainOptions } from './again.js'
import { conditionsOf, idempotencyHeaders, producerHeaders } from './conditions.js'
import type { Http } from './http.js'
import type { Road } from './road.js'
import { SeenSeqs } from './seen-seqs.js'
import { copyOf, smallSizeMax } from './small.js'

/** The content types that the header of a PUT cannot set, since clients send them by default. */
const unsaid: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/x-www-form-urlencoded',
])

type Headers = Readonly<Record<string, string>>

/** The parts of one try of a write by which it is done once. */
type Once = {
  /** The idempotency key. */
  readonly key?: string
  /** The key and `since` as headers. */
  readonly headers?: Headers
  /** A seq of the namespace from before the first try that may have been done. */
  readonly since?: number | undefined
  /** The try is sent once this has resolved. It never rejects. */
  readonly ready?: Promise<void> | undefined
  /** Called just before the try is sent. */
  readonly onSend?: () => void
}

export class RemoteWrites {
  readonly #http: Http
  readonly #road: Road
  readonly #again: Again
  readonly #newId: () => string
  readonly #seqs: SeenSeqs

  constructor(http: Http, road: Road, options: AgainOptions & { readonly newId: () => string }) {
    this.#http = http
    this.#road = road
    this.#again = new Again(options)
    this.#newId = options.newId
    this.#seqs = new SeenSeqs(async (namespace, signal) => {
      return (await road.call(root, { namespace }, signal)).seq
    })
  }

  commit(transaction: Transaction, options: CommitOptions = {}): Promise<Committed> {
    return this.#commit(transaction, options, unchanged)
  }

  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<CommittedOp> {
    if (!this.#road.enabled || !isSmall(value)) return this.#putLarge(key, value, options)
    return this.#commitOp(putOf(key, encoded(value, options), options), options)
  }

  async #putLarge(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions,
  ): Promise<CommittedOp> {
    const { contentType, namespace, signal } = options
    const conditions = conditionsOf(key, options.guards)
    const bytes = await bytesOf(value, options)
    const life = lifeQuery(options)
    if (!conditions || !life) {
      const whole = bytes instanceof Uint8Array ? bytes : await collect(bytes)
      return this.#commitOp(putOf(key, whole, options), options)
    }
    const meant = contentType !== undefined && unsaid.has(contentType.toLowerCase())
    const type = contentType === undefined || meant ? {} : { 'content-type': contentType }
    const said = { ...life, ...(meant ? { contentType } : {}) }
    const args = { key, ...said, ...(namespace === undefined ? {} : { namespace }) }
    const long = !(bytes instanceof Uint8Array)
    return this.#write(options, [], async (once) => {
      if (once.ready) await joinAbort(once.ready, signal)
      const headers = {
        ...type,
        ...conditions,
        ...traceHeaders(options.trace),
        ...sentHeaders(once),
      }
      const sent = this.#http.upload(putKey, args, { headers, body: bytes, signal, long })
      return this.#seen(await sent, namespace)
    })
  }

  append(key: string, value: Value, options: AppendOptions = {}): Promise<CommittedOp> {
    if (!this.#road.enabled || !isSmall(value)) return this.#appendLarge(key, value, options)
    return this.#commitOp(appendOf(key, encoded(value, options), options), options)
  }

  async #appendLarge(key: string, value: Value, options: AppendOptions): Promise<CommittedOp> {
    const { seal, signal, producer, namespace } = options
    const sealed = seal === undefined ? {} : { seal }
    const conditions = conditionsOf(key, options.guards)
    const bytes = await bytesOf(value, options)
    const op = appendOf(key, bytes, options)
    const number = producer ? producerHeaders(producer) : {}
    const life = lifeQuery(options)
    if (!conditions || !number || !life) return this.#commitOp(op, options)
    const args = { key, ...sealed, ...life, ...(namespace === undefined ? {} : { namespace }) }
    const type = { 'content-type': 'application/octet-stream' }
    const headers = { ...type, ...conditions, ...number, ...traceHeaders(options.trace) }
    return this.#write(options, [op], async (once) => {
      if (once.ready) await joinAbort(once.ready, signal)
      const ready = { ...headers, ...sentHeaders(once) }
      const sent = this.#http.upload(appendKey, args, { headers: ready, body: bytes, signal })
      return this.#seen(await sent, namespace)
    })
  }

  /** Ends writes that wait to be sent again with ECLOSED. */
  dispose(): void {
    this.#again.dispose()
  }

  /** Sends a write once, or with `exactlyOnce` or `resend` until it is answered. Later appends of a
   *  producer, and a take that has a name, need no idempotency key for that. */
  async #write<T>(
    options: CommitOptions,
    ops: readonly Op[],
    send: (once: Once) => Promise<T>,
  ): Promise<T> {
    const { exactlyOnce = false, idempotencyKey, idempotencySince: since, signal } = options
    const needsKey = exactlyOnce && !isDoneOnce(ops)
    const key = idempotencyKey ?? (needsKey ? this.#newId() : undefined)
    const once: Once =
      key === undefined ? {} : { key, headers: idempotencyHeaders(key, since), since }
    if (!isSentAgain(options)) return send(once)
    const isKept = { isKept: exactlyOnce }
    if (key === undefined || since !== undefined) {
      return this.#again.untilAnswered(() => send(once), signal, isKept)
    }
    return this.#again.untilAnswered(this.#sinceFirst(key, options, send), signal, isKept)
  }

  /** Makes a function that sends a write under its key. Each try notes the last seq that this client
   *  had seen just before it, and a try behind one that may have been done sends the seq of that
   *  one. */
  #sinceFirst<T>(
    key: string,
    { namespace }: CommitOptions,
    send: (once: Once) => Promise<T>,
  ): (earlier: { readonly mayBeDone: boolean }) => Promise<T> {
    let since = 0
    const onSend = () => {
      since = this.#seqs.last(namespace)
    }
    return ({ mayBeDone }) => {
      if (mayBeDone) return send({ key, headers: idempotencyHeaders(key, since), since })
      const ready = this.#seqs.renewed(namespace)
      return send({ key, headers: idempotencyHeaders(key), ready, onSend })
    }
  }

  /** Notes the seq of an answer. The seq of a repeat is that of the first time: an old one. */
  #seen<T extends Committed | CommittedOp>(answer: T, namespace: string | undefined): T {
    if (!answer.repeated) this.#seqs.see(answer.seq, namespace)
    return answer
  }

  #commitOp(op: Op, options: PutOptions): Promise<CommittedOp> {
    const { guards } = options
    return this.#commit(guards ? { guards, ops: [op] } : { ops: [op] }, options, onlyOf)
  }

  #commit<T>(
    transaction: Transaction,
    options: CommitOptions,
    take: (committed: Committed) => T,
  ): Promise<T> {
    if (!isSentAgain(options) && options.idempotencyKey === undefined) {
      return this.#sendCommit(transaction, options, take, {})
    }
    return this.#write(options, transaction.ops, (once) =>
      this.#sendCommit(transaction, options, take, once),
    )
  }

  #sendCommit<T>(
    transaction: Transaction,
    { namespace, signal, trace }: CommitOptions,
    result: (committed: Committed) => T,
    once: Once,
  ): Promise<T> {
    const { key: idempotencyKey, since: idempotencySince, ready, onSend } = once
    if (ready) this.#road.hold(ready)
    const take = (committed: Committed) => result(this.#seen(committed, namespace))
    const overHttp = async (body: object) => {
      // Without a wait it is encoded in this turn; behind one the caller may have changed it.
      const own = ready ? copyOf(body) : body
      if (ready) await joinAbort(ready, signal)
      const args = { ...own, namespace } as ArgsOf<typeof txn>
      const headers = { ...sentHeaders(once), ...traceHeaders(trace) }
      return take(await this.#http.call(txn, args, { signal, headers }))
    }
    return this.#road.ask({
      ...{ spec: txn, namespace, body: transaction, idempotencyKey, idempotencySince },
      ...{ signal, take, overHttp, ...(onSend ? { onSend } : {}) },
      ...(trace === undefined ? {} : { trace }),
    })
  }
}

function traceHeaders(trace: string | undefined): Headers {
  return trace === undefined ? {} : { traceparent: trace }
}

function unchanged(committed: Committed): Committed {
  return committed
}

/** Makes the answer to a write of one op. Throws EIO if the server did not say its result. */
function onlyOf({ seq, ref, repeated, results }: Committed): CommittedOp {
  const [result] = results
  if (!result) throw new TailraceError('EIO', 'the server answered a commit without its results')
  return repeated ? { seq, ref, repeated, result } : { seq, ref, result }
}

/** Makes the op of a put. A field that is undefined counts as left out. */
function putOf(key: string, value: Uint8Array, options: PutOptions): Op {
  const { contentType, ttl, sliding, cap } = options
  return { op: 'put', key, value, contentType, ttl, sliding, cap } as Op
}

/** Makes the op of an append. A field that is undefined counts as left out. */
function appendOf(key: string, value: Uint8Array, options: AppendOptions): Op {
  const { seal, producer, ttl, sliding, cap } = options
  return { op: 'append', key, value, seal, producer, ttl, sliding, cap } as Op
}

/** Returns the headers of a try that is sent now. */
function sentHeaders({ onSend, headers = {} }: Once): Headers {
  onSend?.()
  return headers
}

function isSentAgain({ exactlyOnce = false, resend = false }: CommitOptions): boolean {
  return exactlyOnce || resend
}

/** True if the ops are done once however often they are sent. */
function isDoneOnce(ops: readonly Op[]): boolean {
  const isAlone = ops.length === 1
  if (ops.length === 0) return false
  return ops.every((op) => {
    // A producer that was forgotten begins at 0 again.
    if (op.op === 'append') return op.producer !== undefined && op.producer.seq > 0
    if (op.op !== 'lease' || op.action !== 'take') return false
    return op.takeId !== undefined && (isAlone || op.optional === true)
  })
}

/** True if a value is so small that the road takes it, unless keys and guards make it larger. */
function isSmall(value: Value | AsyncIterable<Uint8Array>): value is Value {
  if (typeof value === 'string') return value.length <= smallSizeMax && value.isWellFormed()
  return value instanceof Uint8Array && value.length <= smallSizeMax
}

/** Returns the bytes of a small value. The road copies them if it does not send them at once. What
 *  may be sent again later is a copy. */
function encoded(value: Value, options: CommitOptions): Uint8Array {
  if (typeof value === 'string') return encodeText(value)
  return isSentAgain(options) ? new Uint8Array(value) : value
}

/** Returns the bytes of a value. Of what may be sent again later bytes are copied, since the caller
 *  may change them, and a stream is read to its end. */
async function bytesOf<T extends Value | AsyncIterable<Uint8Array>>(
  value: T,
  options: CommitOptions,
): Promise<Exclude<T, string> | Uint8Array> {
  if (typeof value === 'string') return encodeText(value)
  const bytes = value as Exclude<T, string>
  if (!isSentAgain(options)) return bytes
  return bytes instanceof Uint8Array ? new Uint8Array(bytes) : collect(bytes)
}

/** Picks the options that say when a value expires and how much of a log is kept. */
function lifeOf({ ttl, sliding, cap }: Expiry & Capping): Expiry & Capping {
  return {
    ...(ttl === undefined ? {} : { ttl }),
    ...(sliding === undefined ? {} : { sliding }),
    ...(cap === undefined ? {} : { cap }),
  }
}

type LifeQuery = Cap & { readonly uncap?: boolean }

/** Returns expiry and cap as query parameters. Returns undefined for an invalid cap: a query could
 *  change its meaning, so it goes in a body, where the server refuses it. */
function lifeQuery(options: Expiry & Capping): (Expiry & LifeQuery) | undefined {
  const { cap, ...expiry } = lifeOf(options)
  if (cap === undefined) return expiry
  if (cap === null) return { ...expiry, uncap: true }
  const { keep, keepBytes, keepAge, ...others } = cap
  const bounds = Object.entries({ keep, keepBytes, keepAge }).filter(
    ([, bound]) => bound !== undefined,
  )
  const isPlain = bounds.length > 0 && bounds.every(([, bound]) => Number.isSafeInteger(bound))
  if (!isPlain || Object.keys(others).length > 0) return undefined
  return { ...expiry, ...Object.fromEntries(bounds) }
}

/** Reads a stream into memory. Throws E2BIG above `transactionSizeMax`. */
async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > transactionSizeMax) {
      const message = `a streamed put exactly once, or with so many guards, has at most ${transactionSizeMax} bytes`
      throw new TailraceError('E2BIG', message)
    }
    parts.push(new Uint8Array(chunk))
  }
  return join(parts)
}
