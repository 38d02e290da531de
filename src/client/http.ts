/** Requests over a transport: the token, the error envelope, what may be sent again, and whether it
 *  is the store that was meant. See rfc/12.
 *  Invariant: a read that was lost is asked again (`readTriesMax`); a write never is, and one whose
 *  outcome nobody knows is EUNKNOWN. */

import type { Backoff } from '../api/connect.js'
import { joinAbort } from '../base/join-abort.js'
import { pause } from '../base/timer.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { type AnswerOf, type ArgsOf, isWaiting, type RequestSpec } from '../wire/request.js'
import { type AnswerShape, answeredBySomethingElse, readJsonOf, serversAnswer } from './answer.js'
import { delayOf } from './backoff.js'
import { answerOf, placed } from './call.js'
import type { HttpRequest, HttpResponse, Patience, Transport } from './transport.js'

/** A read that is lost on its way is asked this many times in all: at the default bounds for 3 to 6 seconds. */
export const readTriesMax = 8
/** A wait is asked again after this many failures in a row at most: at the default bounds, some
 *  30 seconds, which a server needs at most to come back. */
export const waitTriesMax = 14
const healthPath = '/healthz'
/** After these another server may answer. */
const passing = ['ECLOSED', 'EUNKNOWN', 'ETIMEDOUT'] as const

export type Asking = {
  readonly signal?: AbortSignal | undefined
  readonly long?: boolean | undefined
  /** It is answered when something has happened, however long that takes. */
  readonly patience?: Patience | undefined
  /** Form of the answer; JSON if left out. */
  readonly shape?: AnswerShape
  /** Of a write in JSON. */
  readonly headers?: Readonly<Record<string, string>>
}

/** The time-out is the client's. */
type Ask = Omit<HttpRequest, 'idleMs'>

type Reading = Ask & Pick<Asking, 'shape'>

export type Writing = Omit<Ask, 'headers' | 'reads'> & {
  readonly headers?: Readonly<Record<string, string>>
}

type HttpOptions = {
  readonly token: string | undefined
  /** The store that must answer; undefined: the first that does. */
  readonly storeId: string | undefined
  /** A server that goes away is waited for. */
  readonly reconnect: boolean
  readonly backoff: Backoff
  readonly random: () => number
  /** Time-out of a request, see `ConnectOptions`. */
  readonly timeoutMs: number
  /** Told whether the server was reached, with each answer and each lost connection. */
  readonly reached: (online: boolean) => void
}

export class Http {
  readonly #transport: Transport
  readonly #options: HttpOptions
  readonly #headers: Readonly<Record<string, string>>
  #storeId: string | undefined
  /** Settled by the first check since the last connection was lost. */
  #checked: Promise<void> | undefined
  #reached = false
  readonly #ended = new AbortController()

  constructor(transport: Transport, options: HttpOptions) {
    this.#transport = transport
    this.#options = options
    this.#storeId = options.storeId
    this.#headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
  }

  /** REQUIRES: it was given or `check` has resolved. */
  get storeId(): string {
    return this.#storeId ?? ''
  }

  get disposed(): boolean {
    return this.#ended.signal.aborted
  }

  /** Has a server ever answered? Then one that is away is expected back; otherwise the address is wrong. */
  get reached(): boolean {
    return this.#reached
  }

  get headers(): Readonly<Record<string, string>> {
    return this.#headers
  }

  /** Asks whose store answers, once until `forget`, and again where that is lost. Throws EMISCONFIGURED if it
   *  is another one, ECLOSED. */
  async check(signal?: AbortSignal): Promise<void> {
    await this.#persist(() => this.#checkOnce(signal), { signal })
  }

  /** The connection was lost: who answers next may be another. */
  forget(): void {
    this.#checked = undefined
  }

  /** Asks something that changes nothing, again if the answer is lost on its way, and hands the
   *  answer to `use`. Throws what the server says, ECLOSED, ECANCELED. */
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

  /** Sends once a request of `wire/` whose body are bytes. Throws as `write`. */
  async upload<R extends RequestSpec>(
    spec: R,
    args: ArgsOf<R>,
    sending: Omit<Writing, 'method' | 'path'>,
  ): Promise<AnswerOf<R>> {
    const { path } = placed(spec, args)
    return this.write({ ...sending, method: spec.method, path }, (input) => answerOf(spec, input))
  }

  /** Sends once something that changes the store. Throws what the server says, ECLOSED (it did not
   *  happen), EUNKNOWN (nobody knows), ECANCELED. */
  async write<T>(writing: Writing, parse: (input: unknown) => T): Promise<T> {
    await this.check(writing.signal)
    const response = await this.#send({ ...writing, headers: writing.headers ?? {} })
    return readJsonOf(response, parse)
  }

  /** Sends JSON once, and hands the answer to `use`. */
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

  /** Sends a request of `wire/` whose body and answer are JSON. What only reads is asked again if its answer is lost
   *  on the way; anything else is sent once. Throws what the server says, ECLOSED, EUNKNOWN, ECANCELED. */
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

  /** Ended by `dispose` alone, since others may wait for the same answer. */
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

  /** Tries until it is answered, or for as long as rfc/12, rule 16 says. REQUIRES: to ask twice does no harm. */
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

  /** The answer was lost, or a server that was there is away. */
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
    const headers = { ...this.#headers, ...request.headers }
    const idleMs = this.#options.timeoutMs
    const response = await this.#reach({ ...request, headers, idleMs })
    const answer = await serversAnswer(response, shape).catch((error: unknown) => {
      throw this.#explained(error)
    })
    if (answer) return answer
    // Who stands behind it may be another one next time.
    this.forget()
    throw answeredBySomethingElse(response, { name: this.#transport.name, reached: this.#reached })
  }

  async #reach(request: HttpRequest): Promise<HttpResponse> {
    try {
      const response = await this.#transport.request(request)
      this.#options.reached(true)
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
    if (this.disposed) throw closedByDispose()
  }

  #lost(cause: TailraceError, tries: number): TailraceError {
    if (cause.code === 'ECLOSED') return cause
    const message = `${this.#transport.name} did not answer in ${tries} tries (${cause.message}); try again later`
    return new TailraceError('ECLOSED', message, { cause })
  }
}

/** EUNAUTH with advice: the server says how to send a token, not where to get it. */
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

export function closedByDispose(): TailraceError {
  return new TailraceError('ECLOSED', 'this client was disposed; connect again')
}

/** Undefined: the answer is of something that is no Tailrace server. */
function parseStoreId(input: unknown): string | undefined {
  const { storeId } = (input ?? {}) as { readonly storeId?: unknown }
  return typeof storeId === 'string' && storeId !== '' ? storeId : undefined
}

/** Throws EINVAL: what is in it has no form in JSON (a bigint, a circle). */
function encodeJson(body: unknown): Uint8Array {
  try {
    return new TextEncoder().encode(JSON.stringify(body) ?? 'null')
  } catch (cause) {
    throw new TailraceError('EINVAL', `it cannot be said in JSON: ${String(cause)}`, { cause })
  }
}
