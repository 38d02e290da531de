/** Requests about a server itself, over HTTP, which start none and need no client. See rfc/12 and rfc/13. */

import { once } from 'node:events'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { answeredBySomethingElse } from '../client/answer.js'
import { refusedBy } from '../client/node-request.js'
import { TailraceError } from '../error.js'
import { parseErrorBody } from '../wire/status.js'
import type { ServerAddress } from './session.js'

/** The time to wait for an answer of the server if a command has no other bound, in ms. */
export const answerMs = 10_000

type Asked = { readonly body?: unknown; readonly timeoutMs: number }

/** Sends one JSON request and returns the parsed answer. Throws the error that the server answers,
 *  ECLOSED (nobody listens), ETIMEDOUT. */
export async function requestJson(
  server: ServerAddress,
  method: 'GET' | 'POST',
  path: string,
  asked: Asked,
): Promise<Readonly<Record<string, unknown>>> {
  const { answer, text } = await request(server, method, path, asked)
  const fields = answer.statusCode === 200 ? parseObject(text) : undefined
  if (fields) return fields
  throw errorOf(answer, text, server.url)
}

/** Returns the text of an answer. Throws what `requestJson` throws. */
export async function requestText(
  server: ServerAddress,
  path: string,
  asked: Asked,
): Promise<string> {
  const { answer, text } = await request(server, 'GET', path, asked)
  if (answer.statusCode === 200) return text
  throw errorOf(answer, text, server.url)
}

async function request(
  server: ServerAddress,
  method: 'GET' | 'POST',
  path: string,
  { body, timeoutMs }: Asked,
): Promise<{ readonly answer: IncomingMessage; readonly text: string }> {
  const address = addressOf(server)
  const { request: send } = await import('ca' in address ? 'node:https' : 'node:http')
  const signal = AbortSignal.timeout(timeoutMs)
  const text = body === undefined ? '' : JSON.stringify(body)
  const asking = send({
    ...address,
    method,
    path,
    signal,
    headers: {
      ...(text === '' ? {} : { 'content-type': 'application/json' }),
      'content-length': Buffer.byteLength(text),
      ...(server.token ? { authorization: `Bearer ${server.token}` } : {}),
    },
  })
  asking.end(text)
  try {
    const [answer] = (await once(asking, 'response')) as [IncomingMessage]
    return { answer, text: await readText(answer) }
  } catch (cause) {
    if (cause instanceof TailraceError) throw cause
    throw signal.aborted
      ? new TailraceError('ETIMEDOUT', `${server.url} did not answer within ${timeoutMs} ms`)
      : refusedBy(server.url, cause instanceof Error ? cause : undefined)
  }
}

/** Parses the address of a server; one of TLS has the field `ca`. Throws EINVAL. */
function addressOf({
  url,
  ca,
}: ServerAddress): RequestOptions & { readonly ca?: Buffer | undefined } {
  if (url.startsWith('unix:')) return { socketPath: url.slice('unix:'.length) }
  const { protocol, hostname, port } = URL.canParse(url) ? new URL(url) : new URL('none:')
  const host = hostname.replace(/^\[|\]$/g, '')
  if (protocol === 'http:') return { host, port: Number(port || 80) }
  if (protocol === 'https:') return { host, port: Number(port || 443), ca }
  throw new TailraceError('EINVAL', `"${url}" is not http(s)://HOST:PORT or unix:/PATH`)
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** Returns the error of an answer. */
function errorOf(answer: IncomingMessage, text: string, name: string): TailraceError {
  const { error }: { readonly error?: unknown } = parseObject(text) ?? {}
  if (error !== undefined) return parseErrorBody(error)
  const { statusCode: status = 0, headers } = answer
  const header = (of: string) => headers[of]?.toString()
  return answeredBySomethingElse({ status, header }, { name, reached: false })
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null
      ? (parsed as Readonly<Record<string, unknown>>)
      : undefined
  } catch {
    return undefined
  }
}
