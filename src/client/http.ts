/** Requests over a transport: the token, the error envelope, what may be sent again, and whether it
 *  is the store that was meant. See rfc/12.
 *  Invariant: a read that was lost is asked again (`readTriesMax`); a write never is, and one whose
 *  outcome nobody knows is EUNKNOWN. */

import { joinAbort } from '../base/join-abort.js'
import { isCode, TailraceError } from '../error.js'
import { readAnswer } from '../wire/answers.js'
import { parseFields, parseText } from '../wire/parse.js'
import { parseErrorBody } from '../wire/status.js'
import { type Backoff, delayOf } from './backoff.js'
import { pause } from './timer.js'
import type { HttpRequest, HttpResponse, Transport } from './transport.js'

/** A read that is lost on its way is asked this many times in all. */
export const readTriesMax = 4
/** Bytes of an answer in JSON: a page of `readMany` of full blobs in base64 is below it. */
export const answerSizeMax = 512 * 1024 * 1024
const healthPath = '/healthz'
const errorSizeMax = 1024 * 1024

export type Asking = {
  readonly signal?: AbortSignal | undefined
  readonly long?: boolean | undefined
  /** Of a write in JSON. */
  readonly headers?: Readonly<Record<string, string>>
}

export type Writing = Omit<HttpRequest, 'headers'> & {
  readonly headers?: Readonly<Record<string, string>>
}

type HttpOptions = {
  readonly token: string | undefined
  /** The store that must answer; undefined: the first that does. */
  readonly storeId: string | undefined
  readonly backoff: Backoff
  readonly random: () => number
}

export class Http {
  readonly #transport: Transport
  readonly #options: HttpOptions
  readonly #headers: Readonly<Record<string, string>>
  #storeId: string | undefined
  /** Settled by the first check since the last connection was lost. */
  #checked: Promise<void> | undefined
  #reached = false
  #disposed = false

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
    return this.#disposed
  }

  /** Has a server ever answered? Then one that is away is expected back; otherwise the address is wrong. */
  get reached(): boolean {
    return this.#reached
  }

  get headers(): Readonly<Record<string, string>> {
    return this.#headers
  }

  /** Asks once whose store answers, until `forget`. Throws EMISCONFIGURED if it is another one. */
  async check(signal?: AbortSignal): Promise<void> {
    const checked = this.#checked ?? this.#check()
    this.#checked = checked
    try {
      await joinAbort(checked, signal)
    } catch (error) {
      if (this.#checked === checked && !signal?.aborted) this.#checked = undefined
      throw error
    }
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

  async readJson<T>(path: string, asking: Asking, parse: (input: unknown) => T, body?: unknown) {
    const bytes = body === undefined ? undefined : encodeJson(body)
    return this.read(path, asking, async (response) => readJsonOf(response, parse), bytes)
  }

  /** Sends once something that changes the store. Throws what the server says, ECLOSED (it did not
   *  happen), EUNKNOWN (nobody knows), ECANCELED. */
  async write<T>(writing: Writing, parse: (input: unknown) => T): Promise<T> {
    await this.check(writing.signal)
    const response = await this.#send({ ...writing, headers: writing.headers ?? {} })
    return readJsonOf(response, parse)
  }

  async writeJson<T>(
    path: string,
    body: unknown,
    asking: Asking,
    parse: (input: unknown) => T,
  ): Promise<T> {
    const headers = { ...asking.headers, 'content-type': 'application/json' }
    const { signal, long } = asking
    return this.write(
      { method: 'POST', path, headers, body: encodeJson(body), signal, long },
      parse,
    )
  }

  /** As `writeJson`, with the answer handed to `use`. */
  async sendJson<T>(
    path: string,
    body: unknown,
    asking: Asking,
    use: (response: HttpResponse) => Promise<T>,
  ): Promise<T> {
    const headers = { ...asking.headers, 'content-type': 'application/json' }
    const { signal, long } = asking
    await this.check(signal)
    return use(
      await this.#send({ method: 'POST', path, headers, body: encodeJson(body), signal, long }),
    )
  }

  dispose(): void {
    this.#disposed = true
  }

  /** Ended by `dispose` alone, since others may wait for the same answer. */
  async #check(): Promise<void> {
    const request: HttpRequest = { method: 'GET', path: healthPath, headers: {} }
    const storeId = await this.#read(request, async (response) =>
      readJsonOf(response, (input) => parseStoreId(input)),
    )
    const expected = this.#storeId ?? storeId
    if (storeId !== expected) {
      const message = `${this.#transport.name} serves store ${storeId}, not ${expected}; check the address`
      throw new TailraceError('EMISCONFIGURED', message)
    }
    this.#storeId = storeId
  }

  async #read<T>(request: HttpRequest, use: (response: HttpResponse) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        if (request.path !== healthPath) await this.check(request.signal)
        return await use(await this.#send(request))
      } catch (error) {
        if (!isCode(error, 'EUNKNOWN')) throw error
        this.#mustBeOpen()
        if (tries >= readTriesMax) throw this.#lost(error)
      }
      await pause(delayOf(this.#options.backoff, tries, this.#options.random()), request.signal)
    }
  }

  #readRequest(path: string, asking: Asking, body?: Uint8Array): HttpRequest {
    const { signal, long } = asking
    if (!body) return { method: 'GET', path, headers: {}, signal, long }
    const headers = { 'content-type': 'application/json' }
    return { method: 'POST', path, headers, body, signal, long }
  }

  async #send(request: HttpRequest): Promise<HttpResponse> {
    this.#mustBeOpen()
    const headers = { ...this.#headers, ...request.headers }
    const response = await this.#reach({ ...request, headers })
    this.#reached = true
    if (response.status < 400) return response
    throw await errorOf(response)
  }

  async #reach(request: HttpRequest): Promise<HttpResponse> {
    try {
      return await this.#transport.request(request)
    } catch (error) {
      if (isCode(error, 'ECLOSED') || isCode(error, 'EUNKNOWN')) this.forget()
      throw error
    }
  }

  #mustBeOpen(): void {
    if (this.#disposed) throw closedByDispose()
  }

  #lost(cause: TailraceError): TailraceError {
    const message = `${this.#transport.name} did not answer in ${readTriesMax} tries; try again later`
    return new TailraceError('ECLOSED', message, { cause })
  }
}

export function closedByDispose(): TailraceError {
  return new TailraceError('ECLOSED', 'this client was disposed; connect again')
}

/** Throws EIO where the answer is not what was asked for. */
export async function readJsonOf<T>(
  response: HttpResponse,
  parse: (input: unknown) => T,
): Promise<T> {
  const bytes = await response.bytes(answerSizeMax)
  return readAnswer(decodeJson(bytes), parse)
}

async function errorOf(response: HttpResponse): Promise<TailraceError> {
  const bytes = await response.bytes(errorSizeMax)
  const envelope = decodeJson(bytes)
  if (typeof envelope === 'object' && envelope !== null && 'error' in envelope) {
    return parseErrorBody(envelope.error)
  }
  const message = `the server answered with status ${response.status}; is it Tailrace's?`
  return new TailraceError('EIO', message)
}

function parseStoreId(input: unknown): string {
  const { storeId } = parseFields(input, 'health')
  return parseText(storeId, 'storeId')
}

function encodeJson(body: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(body))
}

function decodeJson(bytes: Uint8Array): unknown {
  return decodeJsonText(new TextDecoder().decode(bytes))
}

/** Undefined where it is not JSON, which no parser takes. */
export function decodeJsonText(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
