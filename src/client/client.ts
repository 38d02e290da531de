/** A store behind a server: `Kvs` and `Jobs` over HTTP, watches over one websocket. Everything that
 *  Node and browsers share; `node.ts` and `web.ts` bring the transport. See rfc/12.
 *  Invariant: what it answers is what the embedded store would; the server decides, nothing is kept. */

import { isCode, TailraceError } from '../error.js'
import type { Jobs, Store } from '../job/job.js'
import {
  type AppendOptions,
  type Committed,
  type CommittedOp,
  getSizeMax,
  type Listing,
  type NamespaceView,
  type Op,
  type PutOptions,
  type Reading,
  type ReadScope,
  type RootView,
  type Scope,
  type Stat,
  type Transaction,
  transactionSizeMax,
  type Value,
} from '../kvs/kvs.js'
import type { Watching, WatchOptions } from '../kvs/watching.js'
import type { TreeobjJson } from '../tree/json.js'
import * as answers from '../wire/answers.js'
import { encodeText, toJson } from '../wire/bytes.js'
import { creditDefault, creditMax } from '../wire/frames.js'
import { type Backoff, backoffDefault } from './backoff.js'
import { conditionsOf } from './conditions.js'
import { Connection } from './connection.js'
import { Http } from './http.js'
import { RemoteJobs } from './jobs.js'
import { componentOf, pathOf, pathOfKey, type Query } from './path.js'
import { readingOf } from './reading.js'
import type { Transport } from './transport.js'
import { RemoteWatch } from './watch.js'

export type ConnectOptions = {
  /** Over TCP: the server's token. */
  readonly token?: string
  /** The store that must answer (else EMISCONFIGURED). If it is given, `connect` asks nothing: it is
   *  checked with the first request, and again after each lost connection. */
  readonly storeId?: string
  /** Watches and waits come back after a lost connection, for as long as it takes (default); false: they
   *  end with ECLOSED. Or within which bounds it waits between tries. */
  readonly reconnect?: boolean | Backoff
  /** Bytes that a watch may hold for its consumer, 1 to `creditMax`. Default `creditDefault`. */
  readonly credit?: number
  /** Of `connect` alone. */
  readonly signal?: AbortSignal
}

/** Content types that a PUT cannot set: they are what clients send without meaning it. */
const unsaid: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/x-www-form-urlencoded',
])

export class Client implements Store {
  readonly jobs: Jobs
  readonly #transport: Transport
  readonly #http: Http
  readonly #connection: Connection
  readonly #credit: number

  /** REQUIRES: `open` is called before anything else. `random`: in [0, 1), for jitter. */
  constructor(transport: Transport, options: ConnectOptions, random: () => number) {
    const backoff = typeof options.reconnect === 'object' ? options.reconnect : backoffDefault
    const reconnect = options.reconnect !== false
    const { token, storeId } = options
    this.#transport = transport
    this.#http = new Http(transport, { token, storeId, backoff, random })
    this.#connection = new Connection(transport, this.#http, { token, reconnect, backoff, random })
    this.#credit = Math.min(creditMax, Math.max(1, Math.floor(options.credit ?? creditDefault)))
    this.jobs = new RemoteJobs(this.#http, { reconnect, backoff, random })
  }

  get storeId(): string {
    return this.#http.storeId
  }

  /** Learns the store's id unless it was given. Throws ECLOSED where no server answers. */
  async open(options: ConnectOptions): Promise<void> {
    if (options.storeId === undefined) await this.#http.check(options.signal)
  }

  async commit(transaction: Transaction, options: Scope = {}): Promise<Committed> {
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

  async get(key: string, options: ReadScope = {}): Promise<Uint8Array | undefined> {
    return missing(
      this.#http.read(pathOfKey('kv', key, readQuery(options)), askingOf(options), (response) =>
        response.bytes(getSizeMax),
      ),
    )
  }

  async read(
    key: string,
    options: ReadScope & { readonly index?: number; readonly from?: number } = {},
  ): Promise<Reading | undefined> {
    const { index, from } = options
    const path = pathOfKey('kv', key, { ...readQuery(options), index, from })
    const asking = { signal: options.signal, long: true }
    const reading = this.#http.read(path, asking, async (response) => readingOf(response))
    if (index === undefined) return missing(reading)
    // Over HTTP a missing key and an index past the end are both ENOENT: here only the second is.
    return reading.catch(async (error: unknown) => {
      if (!isCode(error, 'ENOENT') || (await this.stat(key, options))) throw error
      return undefined
    })
  }

  async stat(
    key: string,
    options: ReadScope & { readonly nofollow?: boolean } = {},
  ): Promise<Stat | undefined> {
    const path = pathOfKey('stat', key, { ...readQuery(options), nofollow: options.nofollow })
    return missing(this.#http.readJson(path, askingOf(options), answers.parseStat))
  }

  async treeobj(
    key: string,
    options: ReadScope & { readonly after?: number; readonly limit?: number } = {},
  ): Promise<TreeobjJson | undefined> {
    const { after, limit } = options
    const path = pathOfKey('treeobj', key, { ...readQuery(options), after, limit })
    return missing(this.#http.readJson(path, askingOf(options), answers.parseTreeobjJson))
  }

  async list(
    key: string,
    options: ReadScope & {
      readonly after?: string
      readonly limit?: number
      readonly recursive?: boolean
    } = {},
  ): Promise<Listing> {
    const { after, limit, recursive } = options
    const path = pathOfKey('list', key, { ...readQuery(options), after, limit, recursive })
    return this.#http.readJson(path, askingOf(options), answers.parseListing)
  }

  async readMany(
    keys: readonly string[],
    options: ReadScope = {},
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }> {
    const { at, minSeq } = options
    const path = pathOf('read', namespaceOf(options))
    return this.#http.readJson(path, askingOf(options), answers.parseValues, { keys, at, minSeq })
  }

  async root(options: Scope & { readonly waitSeq?: number } = {}): Promise<RootView> {
    const { waitSeq, signal } = options
    const path = pathOf('root', { ...namespaceOf(options), waitSeq })
    return this.#http.readJson(path, { signal, long: waitSeq !== undefined }, answers.parseRootView)
  }

  async namespaces(options: { readonly signal?: AbortSignal } = {}): Promise<NamespaceView[]> {
    return this.#http.readJson(pathOf('ns'), options, answers.parseNamespaceViews)
  }

  async createNamespace(
    name: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<NamespaceView> {
    return this.#http.writeJson(pathOf('ns'), { name }, options, answers.parseNamespaceView)
  }

  async removeNamespace(
    name: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const path = pathOf(`ns/${componentOf(name)}`)
    await this.#http.write({ method: 'DELETE', path, signal: options.signal }, () => undefined)
  }

  watch(key: string, options: WatchOptions): Watching {
    return new RemoteWatch(this.#connection, key, options, this.#credit)
  }

  /** Idempotent. Watches and requests end with ECLOSED (writes on their way: EUNKNOWN). */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.dispose()
    await this.#connection.dispose()
    this.#transport.dispose()
  }

  async #commitOp(op: Op, options: PutOptions): Promise<CommittedOp> {
    const guards = options.guards ? { guards: options.guards } : {}
    const { seq, ref, results } = await this.commit({ ...guards, ops: [op] }, options)
    const [result] = results
    if (!result) throw new TailraceError('EIO', 'the server answered a commit without its results')
    return { seq, ref, result }
  }
}

function namespaceOf(scope: Scope): Query {
  return { namespace: scope.namespace }
}

function readQuery(scope: ReadScope): Query {
  return { namespace: scope.namespace, at: scope.at, minSeq: scope.minSeq }
}

function askingOf(scope: ReadScope): { signal: AbortSignal | undefined; long: boolean } {
  return { signal: scope.signal, long: scope.minSeq !== undefined }
}

async function missing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
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
