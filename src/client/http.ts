/** Sends requests over a transport: adds the token, reads errors, retries reads, and checks that
 *  the expected store answers. See rfc/12, rules 16, 23 and 24.
 *  Invariant: a read whose answer was lost is sent again, at most `readTriesMax` times in all. A
 *  write is sent once; if nobody can tell whether it was done, it is EUNKNOWN. */

import type { Backoff } from '../api/connect.js'
import { joinAbort } from '../base/abort.js'
import { pause } from '../base/timer.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { type AnswerOf, type ArgsOf, isWaiting, type RequestSpec } from '../wire/request.js'
import { type AnswerShape, answeredBySomethingElse, readJsonOf, serversAnswer } from './answer.js'
import { delayOf } from './backoff.js'
import { answerOf, placed } from './call.js'
import type { HttpRequest, HttpResponse, Patience, Transport } from './transport.js'

/** The number of times a read is sent in all. At the default backoff the tries take 3 to 6 s. */
export const readTriesMax = 8
/** The number of failures in a row after which a wait is given up. At the default backoff the tries
 *  take some 30 s, which is more than a server needs to come back. */
const waitTriesMax = 14
const healthPath = '/healthz'
/** The errors after which another server may answer at the address. */
const passing = ['ECLOSED', 'EUNKNOWN', 'ETIMEDOUT'] as const

/** Options of a request. */
export type Asking = {
  readonly signal?: AbortSignal | undefined
  /** See `HttpRequest.long`. */
  readonly long?: boolean | undefined
  /** The part of the request in which the server may be silent. Left out: none. */
  readonly patience?: Patience | undefined
  /** The form of the answer. Default: JSON. */
  readonly shape?: AnswerShape
  /** More headers of a request that has a body in JSON. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A request without its time-out, which is that of the client. */
type Ask = Omit<HttpRequest, 'idleMs'>

type Reading = Ask & Pick<Asking, 'shape'>

type Writing = Omit<Ask, 'headers' | 'reads'> & {
  readonly headers?: Readonly<Record<string, string>>
}

type HttpOptions = {
  readonly token: string | undefined
  /** The id of the store that must answer. Undefined: any, and then always the same. */
  readonly storeId: string | undefined
  /** True if the client waits for a server that goes away. */
  readonly reconnect: boolean
  readonly backoff: Backoff
  readonly random: () => number
  /** The time-out of a request, in ms; see `ConnectOptions`. */
  readonly timeoutMs: number
  /** Called with true for each answer, and with false for each lost connection. */
  readonly reached: (online: boolean) => void
}

export class Http {
  readonly #transport: Transport
  readonly #options: HttpOptions
  readonly #headers: Readonly<Record<string, string>>
  #storeId: string | undefined
  /** The first check of the store's id since a connection was lost last. */
  #checked: Promise<void> | undefined
  #reached = false
  readonly #ended = new AbortController()

  constructor(transport: Transport, options: HttpOptions) {
    this.#transport = transport
    this.#options = options
    this.#storeId = options.storeId
    this.#headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
  }

  /** The id of the store. REQUIRES: it was given, or `check` has resolved. */
  get storeId(): string {
    return this.#storeId ?? ''
  }

  /** True if a server has answered this client. Then a server that is away is expected back;
   *  before, the address may be wrong. */
  get reached(): boolean {
    return this.#reached
  }

  get headers(): Readonly<Record<string, string>> {
    return this.#headers
  }

  /** Asks the server for the id of its store, once until `forget` is called. It asks again if the
   *  answer is lost. Throws EMISCONFIGURED if it is another store, ECLOSED, ECANCELED. */
  async check(signal?: AbortSignal): Promise<void> {
    await this.#persist(() => this.#checkOnce(signal), { signal })
  }

  /** Asks as `check`, but only once: a caller that can do without the answer does not wait for a
   *  server that is away. */
  async tryCheck(signal?: AbortSignal): Promise<void> {
    await this.#checkOnce(signal)
  }

  /** Makes the next request check the id of the store again. Call it when a connection was lost:
   *  another server may answer next. */
  forget(): void {
    this.#checked = undefined
  }

  /** Sends a request that changes nothing, and hands the answer to `use`. Sends it again if the
   *  answer is lost. With a body it is a POST, otherwise a GET. Throws what the server says,
   *  ECLOSED, ETIMEDOUT, ECANCELED. */
  async read<T>(
    path: string,
    asking: Asking,
    use: (response: HttpResponse) => Promise<T>,
    body?: Uint8Array,
  ): Promise<T> {
    return this.#read(this.#readRequest(path, asking, body), use)
  }

  async #readJson<T>(path: string, asking: Asking, parse: (input: unknown) => T, body?: unknown) {
    const bytes = body === undefined ? undefined : encodeJson(body)
    return this.read(path, asking, async (response) => readJsonOf(response, parse), bytes)
  }

  /** Sends a request of `wire/` whose body is bytes, once. Throws the same as `write`. */
  async upload<R extends RequestSpec>(
    spec: R,
    args: ArgsOf<R>,
    sending: Omit<Writing, 'method' | 'path'>,
  ): Promise<AnswerOf<R>> {
    const { path } = placed(spec, args)
    const sent = { ...sending, method: spec.method, path }
    const send = () => this.write(sent, (input) => answerOf(spec, input))
    const span = this.#transport.tracing?.sent(spec.name)
    return span ? span.during(send) : send()
  }

  /** Sends a request that changes the store, once. Throws what the server says, ECLOSED and
   *  ETIMEDOUT (it was not done), EUNKNOWN (nobody can tell), ECANCELED. */
  async write<T>(writing: Writing, parse: (input: unknown) => T): Promise<T> {
    await this.check(writing.signal)
    const response = await this.#send({ ...writing, headers: writing.headers ?? {} })
    return readJsonOf(response, parse)
  }

  /** Sends a POST with a body in JSON, once, and hands the answer to `use`. */
  async sendJson<T>(
    path: string,
    body: unknown,
    asking: Asking,
    use: (response: HttpResponse) => Promise<T>,
  ): Promise<T> {
    const headers = { ...asking.headers, 'content-type': 'application/json' }
    const { signal, long, patience, shape } = asking
    await this.check(signal)
    const method = 'POST'
    const sent = { method, path, headers, body: encodeJson(body), signal, long, patience } as const
    return use(await this.#send(sent, shape))
  }

  /** Sends a request of `wire/` whose body and answer are JSON. A request that only reads is sent
   *  again if its answer is lost; any other is sent once. Throws what the server says, ECLOSED,
   *  ETIMEDOUT, EUNKNOWN, ECANCELED. */
  async call<R extends RequestSpec>(
    spec: R,
    args: ArgsOf<R>,
    asking: Asking = {},
  ): Promise<AnswerOf<R>> {
    const { path, body } = placed(spec, args)
    const parse = (input: unknown) => answerOf(spec, input)
    const { signal, patience = isWaiting(spec, args) ? 'answer' : undefined } = asking
    const { long = patience !== undefined } = asking
    if (spec.right === 'read') {
      return this.#readJson(path, { signal, patience, long }, parse, body)
    }
    const json = body === undefined ? {} : { body: encodeJson(body) }
    const headers = {
      ...asking.headers,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const { method } = spec
    return this.write({ method, path, headers, signal, long, patience, ...json }, parse)
  }

  dispose(): void {
    this.#ended.abort(closedByDispose())
  }

  async #checkOnce(signal: AbortSignal | undefined): Promise<void> {
    const checked = this.#checked ?? this.#askStoreId()
    this.#checked = checked
    try {
      await joinAbort(checked, signal)
    } catch (error) {
      if (this.#checked === checked && !signal?.aborted) this.#checked = undefined
      throw error
    }
  }

  /** Takes no signal, since several requests may wait for this answer. Only `dispose` ends it. */
  async #askStoreId(): Promise<void> {
    const response = await this.#send({ method: 'GET', path: healthPath, headers: {}, reads: true })
    const storeId = await readJsonOf(response, parseStoreId)
    if (storeId === undefined) {
      throw answeredBySomethingElse(response, {
        name: this.#transport.name,
        reached: this.#reached,
      })
    }
    this.#reached = true
    const expected = this.#storeId ?? storeId
    if (storeId !== expected) {
      const message = `${this.#transport.name} serves store ${storeId}, not ${expected}; check the address`
      throw new TailraceError('EMISCONFIGURED', message)
    }
    this.#storeId = storeId
  }

  async #read<T>(request: Reading, use: (response: HttpResponse) => Promise<T>): Promise<T> {
    const { signal, shape, patience } = request
    const ask = async () => {
      await this.#checkOnce(signal)
      return use(await this.#send(request, shape))
    }
    return this.#persist(ask, { signal, patience })
  }

  /** Calls `ask` until it is answered, within the bounds of rfc/12, rule 16. REQUIRES: `ask` may be
   *  called twice without harm. */
  async #persist<T>(
    ask: () => Promise<T>,
    { signal, patience }: Pick<Asking, 'signal' | 'patience'>,
  ): Promise<T> {
    const { backoff, random, timeoutMs } = this.#options
    const triesMax = patience ? waitTriesMax : readTriesMax
    const began = performance.now()
    for (let failures = 1; ; failures++) {
      const started = performance.now()
      try {
        return await ask()
      } catch (error) {
        const now = performance.now()
        if (signal?.aborted || !this.#isPassing(error, patience)) throw error
        this.#mustBeOpen()
        if (patience && now - started > backoff.maxMs) failures = 1
        const late = !patience && now - began >= timeoutMs
        if (failures >= triesMax || late) throw this.#lost(toTailraceError(error), failures)
      }
      await pause(delayOf(backoff, failures, random()), signal, this.#ended.signal)
    }
  }

  /** Returns true if the answer was lost, or if a server that has answered before is away. */
  #isPassing(error: unknown, patience: Patience | undefined): boolean {
    if (isCode(error, 'EUNKNOWN')) return true
    const away = isCode(error, 'ECLOSED') || (patience && isCode(error, 'ETIMEDOUT'))
    return away === true && this.#reached && this.#options.reconnect
  }

  #readRequest(path: string, asking: Asking, body?: Uint8Array): Reading {
    const { signal, patience, long = patience !== undefined, shape = 'json' } = asking
    const common = { path, signal, long, patience, shape, reads: true }
    if (!body) return { ...common, method: 'GET', headers: {} }
    return { ...common, method: 'POST', headers: { 'content-type': 'application/json' }, body }
  }

  async #send(request: Ask, shape: AnswerShape = 'json'): Promise<HttpResponse> {
    this.#mustBeOpen()
    const trace = this.#transport.tracing?.active()
    const placed = trace === undefined ? this.#headers : { ...this.#headers, traceparent: trace }
    const headers = { ...placed, ...request.headers }
    const idleMs = this.#options.timeoutMs
    const response = await this.#reach({ ...request, headers, idleMs })
    const answer = await serversAnswer(response, shape).catch((error: unknown) => {
      throw this.#explained(error)
    })
    if (answer) return answer
    // Another server may answer next time.
    this.forget()
    throw answeredBySomethingElse(response, { name: this.#transport.name, reached: this.#reached })
  }

  async #reach(request: HttpRequest): Promise<HttpResponse> {
    try {
      const response = await this.#transport.request(request)
      // A server that stops still answers: it says that it cannot be used.
      this.#options.reached(response.header('tailrace-error') !== 'ECLOSED')
      return response
    } catch (error) {
      if (passing.some((code) => isCode(error, code))) {
        this.forget()
        this.#options.reached(false)
      }
      throw error
    }
  }

  #explained(error: unknown): unknown {
    return isCode(error, 'EUNAUTH') ? unauthorized(this.#transport.name, this.#options) : error
  }

  #mustBeOpen(): void {
    if (this.#ended.signal.aborted) throw closedByDispose()
  }

  #lost(cause: TailraceError, tries: number): TailraceError {
    if (cause.code === 'ECLOSED') return cause
    const message = `${this.#transport.name} did not answer in ${tries} tries (${cause.message}); try again later`
    return new TailraceError('ECLOSED', message, { cause })
  }
}

/** Makes an EUNAUTH that says where to get a token. The server's own message only says how to send
 *  one. */
export function unauthorized(
  name: string,
  { token }: { readonly token: string | undefined },
): TailraceError {
  const said = `${name} ${token === undefined ? 'wants a token' : 'does not take this token'}`
  const advice = 'pass connect() as `token` what "tailrace token" prints where the server runs'
  return new TailraceError('EUNAUTH', `${said}: ${advice}`, {
    cause: new TailraceError('EUNAUTH', said),
  })
}

/** Makes the ECLOSED of a client that was disposed. */
export function closedByDispose(): TailraceError {
  return new TailraceError('ECLOSED', 'this client was disposed; connect again')
}

/** Returns the store's id in an answer to `/healthz`. Returns undefined if no Tailrace server gave
 *  it. */
function parseStoreId(input: unknown): string | undefined {
  const { storeId } = (input ?? {}) as { readonly storeId?: unknown }
  return typeof storeId === 'string' && storeId !== '' ? storeId : undefined
}

/** Encodes a body as JSON. Throws EINVAL for a value that JSON cannot hold (a bigint, a cycle). */
function encodeJson(body: unknown): Uint8Array {
  try {
    return new TextEncoder().encode(JSON.stringify(body) ?? 'null')
  } catch (cause) {
    throw new TailraceError('EINVAL', `it cannot be said in JSON: ${String(cause)}`, { cause })
  }
}
