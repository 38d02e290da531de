/** The writes of a store, over a server: transactions, puts, appends. See rfc/12, rules 16, 18, 20,
 *  21 and 37.
 *  Invariant: a write is sent once; if nobody can tell whether it was done, it is EUNKNOWN. With
 *  `exactlyOnce` it is sent again until it is answered, and is done once. A small write is handed to
 *  the road in the turn of its call, so that small writes keep the order of their calls. */

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
import { join } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import { encodeText } from '../wire/bytes.js'
import { appendKey, putKey } from '../wire/keys.js'
import { txn } from '../wire/transaction.js'
import { Again, type AgainOptions } from './again.js'
import { conditionsOf, idempotencyHeaders, producerHeaders } from './conditions.js'
import type { Http } from './http.js'
import type { Road } from './road.js'
import { smallSizeMax } from './small.js'

/** The content types that the header of a PUT cannot set, since clients send them by default. */
const unsaid: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/x-www-form-urlencoded',
])

export class RemoteWrites {
  readonly #http: Http
  readonly #road: Road
  readonly #again: Again
  readonly #newId: () => string

  constructor(http: Http, road: Road, options: AgainOptions & { readonly newId: () => string }) {
    this.#http = http
    this.#road = road
    this.#again = new Again(options)
    this.#newId = options.newId
  }

  async commit(transaction: Transaction, options: CommitOptions = {}): Promise<Committed> {
    const { namespace, signal } = options
    const args = { ...transaction, ...(namespace === undefined ? {} : { namespace }) }
    return this.#write(options, transaction.ops, (idempotencyKey, headers) =>
      this.#road.write({ spec: txn, args, idempotencyKey, signal }, (ready) =>
        this.#http.call(txn, ready, { signal, headers }),
      ),
    )
  }

  async put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<CommittedOp> {
    const { contentType, namespace, signal } = options
    const opOf = (whole: Uint8Array): Op => {
      const type = contentType === undefined ? {} : { contentType }
      return { op: 'put', key, value: whole, ...type, ...lifeOf(options) }
    }
    if (this.#road.enabled && isSmall(value)) return this.#commitOp(opOf(encoded(value)), options)
    const conditions = conditionsOf(key, options.guards)
    const bytes = await bytesOf(value, options)
    const life = lifeQuery(options)
    if (!conditions || !life) {
      const whole = bytes instanceof Uint8Array ? bytes : await collect(bytes)
      return this.#commitOp(opOf(whole), options)
    }
    const meant = contentType !== undefined && unsaid.has(contentType.toLowerCase())
    const type = contentType === undefined || meant ? {} : { 'content-type': contentType }
    const said = { ...life, ...(meant ? { contentType } : {}) }
    const args = { key, ...said, ...(namespace === undefined ? {} : { namespace }) }
    const long = !(bytes instanceof Uint8Array)
    return this.#write(options, [], (_, once) => {
      const headers = { ...type, ...conditions, ...once }
      return this.#http.upload(putKey, args, { headers, body: bytes, signal, long })
    })
  }

  async append(key: string, value: Value, options: AppendOptions = {}): Promise<CommittedOp> {
    const { seal, signal, producer, namespace } = options
    const sealed = seal === undefined ? {} : { seal }
    const numbered = producer && { producer }
    const opOf = (bytes: Uint8Array): Op => {
      return { op: 'append', key, value: bytes, ...sealed, ...numbered, ...lifeOf(options) }
    }
    if (this.#road.enabled && isSmall(value)) return this.#commitOp(opOf(encoded(value)), options)
    const conditions = conditionsOf(key, options.guards)
    const bytes = await bytesOf(value, options)
    const op = opOf(bytes)
    const number = producer ? producerHeaders(producer) : {}
    const life = lifeQuery(options)
    if (!conditions || !number || !life) return this.#commitOp(op, options)
    const args = { key, ...sealed, ...life, ...(namespace === undefined ? {} : { namespace }) }
    const headers = { ...conditions, ...number, 'content-type': 'application/octet-stream' }
    return this.#write(options, [op], (_, once) =>
      this.#http.upload(appendKey, args, { headers: { ...headers, ...once }, body: bytes, signal }),
    )
  }

  /** Ends writes that wait to be sent again with ECLOSED. */
  dispose(): void {
    this.#again.dispose()
  }

  /** Sends a write once, or with `exactlyOnce` until it is answered. Appends of a producer need no
   *  idempotency key for that. */
  async #write<T>(
    options: CommitOptions,
    ops: readonly Op[],
    send: (
      idempotencyKey: string | undefined,
      headers: Readonly<Record<string, string>>,
    ) => Promise<T>,
  ): Promise<T> {
    const { exactlyOnce = false, idempotencyKey, signal } = options
    const needsKey = exactlyOnce && !(ops.length > 0 && ops.every(isNumbered))
    const key = idempotencyKey ?? (needsKey ? this.#newId() : undefined)
    const headers = key === undefined ? {} : idempotencyHeaders(key)
    if (!exactlyOnce) return send(key, headers)
    return this.#again.untilAnswered(() => send(key, headers), signal)
  }

  async #commitOp(op: Op, options: PutOptions): Promise<CommittedOp> {
    const guards = options.guards ? { guards: options.guards } : {}
    const { results, ...rest } = await this.commit({ ...guards, ops: [op] }, options)
    const [result] = results
    if (!result) throw new TailraceError('EIO', 'the server answered a commit without its results')
    return { ...rest, result }
  }
}

function isNumbered(op: Op): boolean {
  return op.op === 'append' && op.producer !== undefined
}

/** True if a value is so small that the road takes it, unless keys and guards make it larger. */
function isSmall(value: Value | AsyncIterable<Uint8Array>): value is Value {
  return (typeof value === 'string' || value instanceof Uint8Array) && value.length <= smallSizeMax
}

/** Returns the bytes of a small value: a copy, since the caller may change its own. */
function encoded(value: Value): Uint8Array {
  return typeof value === 'string' ? encodeText(value) : new Uint8Array(value)
}

/** Returns the bytes of a value. With `exactlyOnce` they may be sent again later: bytes are copied,
 *  since the caller may change them, and a stream is read to its end. */
async function bytesOf<T extends Value | AsyncIterable<Uint8Array>>(
  value: T,
  { exactlyOnce }: CommitOptions,
): Promise<Exclude<T, string> | Uint8Array> {
  if (typeof value === 'string') return encodeText(value)
  const bytes = value as Exclude<T, string>
  if (!exactlyOnce) return bytes
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
