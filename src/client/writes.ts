/** The writes of a store behind a server: transactions, puts, appends. See rfc/12.
 *  Invariant: a write is sent once; where nobody knows whether it arrived it is EUNKNOWN. */

import { TailraceError } from '../error.js'
import type { AppendOptions, CommitOptions, PutOptions } from '../kvs/kvs.js'
import {
  type Committed,
  type CommittedOp,
  type Op,
  type Transaction,
  transactionSizeMax,
  type Value,
} from '../kvs/operation.js'
import * as answers from '../wire/answers.js'
import { encodeText, toJson } from '../wire/bytes.js'
import { conditionsOf } from './conditions.js'
import type { Http } from './http.js'
import { pathOf, pathOfKey } from './path.js'
import { namespaceOf } from './scope.js'

/** Content types that a PUT cannot set: they are what clients send without meaning it. */
const unsaid: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/x-www-form-urlencoded',
])

export class RemoteWrites {
  readonly #http: Http

  constructor(http: Http) {
    this.#http = http
  }

  async commit(transaction: Transaction, options: CommitOptions = {}): Promise<Committed> {
    const path = pathOf('txn', namespaceOf(options))
    return this.#http.writeJson(path, toJson(transaction), options, answers.parseCommitted)
  }

  async put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<CommittedOp> {
    const { contentType } = options
    const conditions = conditionsOf(key, options.guards)
    const bytes = typeof value === 'string' ? encodeText(value) : value
    if (!conditions || (contentType !== undefined && unsaid.has(contentType))) {
      const whole = bytes instanceof Uint8Array ? bytes : await collect(bytes)
      const type = contentType === undefined ? {} : { contentType }
      return this.#commitOp({ op: 'put', key, value: whole, ...type }, options)
    }
    const type = contentType === undefined ? {} : { 'content-type': contentType }
    return this.#http.write(
      {
        method: 'PUT',
        path: pathOfKey('kv', key, namespaceOf(options)),
        headers: { ...type, ...conditions },
        body: bytes,
        signal: options.signal,
        long: !(bytes instanceof Uint8Array),
      },
      answers.parseCommittedOp,
    )
  }

  async append(key: string, value: Value, options: AppendOptions = {}): Promise<CommittedOp> {
    const conditions = conditionsOf(key, options.guards)
    const bytes = typeof value === 'string' ? encodeText(value) : value
    const { seal, signal } = options
    if (!conditions) {
      const sealed = seal === undefined ? {} : { seal }
      return this.#commitOp({ op: 'append', key, value: bytes, ...sealed }, options)
    }
    const path = pathOfKey('kv', key, { ...namespaceOf(options), seal })
    const headers = { ...conditions, 'content-type': 'application/octet-stream' }
    return this.#http.write(
      { method: 'POST', path, headers, body: bytes, signal },
      answers.parseCommittedOp,
    )
  }

  async #commitOp(op: Op, options: PutOptions): Promise<CommittedOp> {
    const guards = options.guards ? { guards: options.guards } : {}
    const { seq, ref, results } = await this.commit({ ...guards, ops: [op] }, options)
    const [result] = results
    if (!result) throw new TailraceError('EIO', 'the server answered a commit without its results')
    return { seq, ref, result }
  }
}

/** A stream with guards that no header can say is one transaction: whole in memory. Throws E2BIG. */
async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > transactionSizeMax) {
      const message = `a streamed put with such guards has at most ${transactionSizeMax} bytes`
      throw new TailraceError('E2BIG', message)
    }
    parts.push(chunk.slice())
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
