/** One JSON request to a server, for what is about the server and not about its store (status,
 *  stop). See rfc/12. */

import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:http'
import { answeredBySomethingElse } from '../client/answer.js'
import { TailraceError } from '../error.js'
import { parseErrorBody } from '../wire/status.js'
import type { Target } from './session.js'

/** The answer, parsed. Throws what the server answers, ECLOSED (nobody listens), ETIMEDOUT. */
export async function requestJson(
  target: Target,
  method: 'GET' | 'POST',
  path: string,
  { body, timeoutMs }: { readonly body?: unknown; readonly timeoutMs: number },
): Promise<Readonly<Record<string, unknown>>> {
  const signal = AbortSignal.timeout(timeoutMs)
  const text = body === undefined ? '' : JSON.stringify(body)
  const asking = request({
    ...addressOf(target.url),
    method,
    path,
    signal,
    headers: {
      ...(text === '' ? {} : { 'content-type': 'application/json' }),
      'content-length': Buffer.byteLength(text),
      ...(target.token ? { authorization: `Bearer ${target.token}` } : {}),
    },
  })
  asking.end(text)
  try {
    const [answer] = (await once(asking, 'response')) as [IncomingMessage]
    return parseAnswer(answer, await readText(answer), target.url)
  } catch (cause) {
    if (cause instanceof TailraceError) throw cause
    const said = cause instanceof Error ? cause.message : String(cause)
    throw signal.aborted
      ? new TailraceError('ETIMEDOUT', `${target.url} did not answer within ${timeoutMs} ms`)
      : new TailraceError('ECLOSED', `${target.url} cannot be reached: ${said}`, { cause })
  }
}

function addressOf(url: string): { socketPath: string } | { host: string; port: number } {
  if (url.startsWith('unix:')) return { socketPath: url.slice('unix:'.length) }
  if (!URL.canParse(url) || new URL(url).protocol !== 'http:') {
    throw new TailraceError('EINVAL', `"${url}" is not http://HOST:PORT or unix:/PATH`)
  }
  const { hostname, port } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function parseAnswer(
  answer: IncomingMessage,
  text: string,
  name: string,
): Readonly<Record<string, unknown>> {
  const fields = parseObject(text)
  if (answer.statusCode === 200 && fields) return fields
  const { error }: { readonly error?: unknown } = fields ?? {}
  if (error !== undefined) throw parseErrorBody(error)
  const { statusCode: status = 0, headers } = answer
  const header = (of: string) => headers[of]?.toString()
  throw answeredBySomethingElse({ status, header }, { name, reached: false })
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
