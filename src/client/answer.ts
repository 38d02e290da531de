/** Tells the answers of a Tailrace server from those of a proxy, a load balancer or a captive
 *  portal. See rfc/12, rule 23.
 *  Invariant: an answer of something else is never taken for the server's. It counts as a lost
 *  answer. */

import { isCode, TailraceError } from '../error.js'
import { parseErrorBody } from '../wire/status.js'
import type { HttpResponse } from './transport.js'

/** The largest answer in JSON, in bytes. The largest answer of `readMany`, in base64, is below
 *  it. */
const answerSizeMax = 512 * 1024 * 1024
/** The largest body of an error, in bytes. */
const errorSizeMax = 1024 * 1024
/** The number of characters of a foreign header that a message quotes. */
const quotedMax = 100

/** The form of the expected answer: JSON, a key's value, plain bytes, or lines of JSON. */
export type AnswerShape = 'json' | 'value' | 'bytes' | 'lines'

const mediaTypes: Readonly<Record<Exclude<AnswerShape, 'value'>, string>> = {
  json: 'application/json',
  bytes: 'application/octet-stream',
  lines: 'application/x-ndjson',
}

/** Statuses of a refusal on the way to the server. A second try would meet the same refusal. */
const refusals: Readonly<Record<number, 'EUNAUTH' | 'E2BIG'>> = {
  401: 'EUNAUTH',
  407: 'EUNAUTH',
  413: 'E2BIG',
  414: 'E2BIG',
  431: 'E2BIG',
}

/** Returns true for a status that may pass, though the address is right: the server is away, or
 *  busy. */
export function isPassingStatus(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429
}

/** Returns the answer if it is the server's. Throws the error that the server sent. Returns
 *  undefined if something else answered; that answer is dropped. */
export async function serversAnswer(
  response: HttpResponse,
  shape: AnswerShape,
): Promise<HttpResponse | undefined> {
  if (response.status < 300 && hasShape(response, shape)) return response
  const refusal = await refusalOf(response)
  if (refusal) throw refusal
  return undefined
}

function hasShape(response: HttpResponse, shape: AnswerShape): boolean {
  // A value has the media type that its writer chose, so the type proves nothing.
  if (shape === 'value') return response.header('tailrace-stat') !== undefined
  return mediaTypeOf(response) === mediaTypes[shape]
}

function mediaTypeOf(response: HttpResponse): string | undefined {
  return response.header('content-type')?.split(';')[0]?.trim().toLowerCase()
}

/** Returns the error in the envelope of rfc/2, rule 9. Returns undefined if the answer is no
 *  envelope. A code that this client does not know counts as one: the server may be newer. */
async function refusalOf(response: HttpResponse): Promise<TailraceError | undefined> {
  if (response.status < 400 || mediaTypeOf(response) !== mediaTypes.json) {
    response.discard()
    return undefined
  }
  const envelope = decodeJson(await response.bytes(errorSizeMax).catch(nothingIfBig))
  const { error } = (envelope ?? {}) as { readonly error?: unknown }
  const { code, message } = (error ?? {}) as Readonly<Record<string, unknown>>
  const isEnvelope = typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)
  return isEnvelope && typeof message === 'string' ? parseErrorBody(error) : undefined
}

function nothingIfBig(error: unknown): Uint8Array {
  if (isCode(error, 'E2BIG')) return new Uint8Array(0)
  throw error
}

/** Makes the error for an answer that is not the server's. `reached`: a server has answered at this
 *  address before. */
export function answeredBySomethingElse(
  { status, header }: Pick<HttpResponse, 'status' | 'header'>,
  { name, reached }: { readonly name: string; readonly reached: boolean },
): TailraceError {
  const type = header('content-type')
  const location = header('location')
  const page = type === undefined ? '' : `, ${quoted(type)}`
  const towards = location === undefined ? '' : `, to ${quoted(location)}`
  const said = `${name} gave an answer that is not a Tailrace server's (status ${status}${page}${towards})`
  const refused = refusals[status]
  if (refused) return new TailraceError(refused, `${said}: something before the server refuses it`)
  if (reached || isPassingStatus(status)) {
    return new TailraceError('EUNKNOWN', `${said}: look whether the server got the request`)
  }
  return new TailraceError('EMISCONFIGURED', `${said}: check the address`)
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, quotedMax))
}

/** Reads an answer. An EINVAL of its parser becomes EIO, since the server is at fault. */
export function readAnswer<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (!isCode(cause, 'EINVAL')) throw cause
    const message = `the server's answer could not be read (${cause.message}); are both of one version?`
    throw new TailraceError('EIO', message, { cause })
  }
}

/** Reads and parses an answer in JSON. Throws EIO if it has another shape than the request says,
 *  EUNKNOWN if it is not JSON, E2BIG above `answerSizeMax`. */
export async function readJsonOf<T>(
  response: HttpResponse,
  parse: (input: unknown) => T,
): Promise<T> {
  const answer = decodeJson(await response.bytes(answerSizeMax))
  if (answer === undefined) {
    throw new TailraceError('EUNKNOWN', 'the answer is no JSON: it was lost on its way')
  }
  return readAnswer(() => parse(answer))
}

function decodeJson(bytes: Uint8Array): unknown {
  return decodeJsonText(new TextDecoder().decode(bytes))
}

/** Decodes JSON. Returns undefined if the text is not JSON; no schema takes that value. */
export function decodeJsonText(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
