/** The commands about the server itself: status, version, stop. They start none, and ask it
 *  in JSON over HTTP. See rfc/13, rfc/12. */

import { once } from 'node:events'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { answeredBySomethingElse } from '../client/answer.js'
import { refusedBy } from '../client/node-request.js'
import { TailraceError } from '../error.js'
import { hasStore, type ServerRecord } from '../local/directory.js'
import { programVersion } from '../local/installation.js'
import { findServer, isAlive, urlOf } from '../local/local.js'
import { parseErrorBody } from '../wire/status.js'
import { command, flag } from './command.js'
import { data, json, place, utc } from './options.js'
import { jsonLine, quoted } from './quote.js'
import { noAnswer } from './report.js'
import { dataDirectory, namedServer, type ServerAddress, TimeLimit } from './session.js'
import { timeText } from './units.js'

/** The time to wait for a stop, in ms. A longer one is reported as ETIMEDOUT. */
const stopMs = 15_000
/** The time to wait for an answer of the server, in ms. */
const answerMs = 10_000
/** The time between two looks for a process that ends, in ms. */
const exitCheckMs = 10

export const status = command({
  name: 'status',
  summary: 'show the server of the data directory (starts none)',
  options: { utc, json, ...place },
  examples: ['tailrace status', 'tailrace status --json'],
  run: async (call) => {
    const { options, stdout } = call
    const named = await namedServer(call)
    const directory = dataDirectory(options.data, call.environment)
    const record = named ? undefined : await findServer(directory)
    const server = named ?? (record && { url: urlOf(record) })
    if (!server) {
      const store = await hasStore(directory)
      if (options.json) await stdout.json({ running: false, directory, store })
      else if (store)
        await stdout.line(`no server runs on ${directory}; a command that needs one starts it`)
      else await stdout.line(`no server runs on ${directory}, and there is no store in it`)
      return noAnswer
    }
    const limit = new TimeLimit(options.timeout)
    const asking = { timeoutMs: limit.ms ?? answerMs }
    const answer = await limit.bound(() => requestJson(server, 'GET', '/v1/status', asking))
    if (options.json) await stdout.json({ running: true, ...answer })
    else await stdout.lines(linesOf(answer, options))
    return 0
  },
})

export const version = command({
  name: 'version',
  summary: 'show the versions of the program, of Node, and of the server that runs',
  options: { json, data },
  examples: ['tailrace version', 'tailrace version --json'],
  run: async ({ options, stdout, environment }) => {
    const record = await findServer(dataDirectory(options.data, environment))
    const versions = {
      tailrace: programVersion(),
      node: process.versions.node,
      platform: `${process.platform} ${process.arch}`,
      ...(record && { server: record.version }),
    }
    if (options.json) await stdout.json(versions)
    else await stdout.lines(Object.entries(versions).map(([name, text]) => `${name} ${text}`))
  },
})

export const stop = command({
  name: 'stop',
  summary: 'end the server of the data directory',
  options: { force: flag('--force', 'even while jobs run; they are ended'), json, ...place },
  examples: ['tailrace stop', 'tailrace stop --force'],
  run: async (call) => {
    const { options, stdout } = call
    const limit = new TimeLimit(options.timeout)
    return limit.bound(async () => {
      const body = options.force ? { force: true } : {}
      const asking = { body, timeoutMs: limit.ms ?? answerMs }
      const named = await namedServer(call)
      if (named) {
        await requestJson(named, 'POST', '/v1/stop', asking)
        if (options.json) await stdout.json({ stopped: true })
        return
      }
      const directory = dataDirectory(options.data, call.environment)
      const record = await findServer(directory)
      if (!record) {
        if (options.json) await stdout.json({ stopped: false, directory })
        else await stdout.line(`no server runs on ${directory}`)
        return
      }
      await requestJson({ url: urlOf(record) }, 'POST', '/v1/stop', asking)
      await untilGone(record, { directory, timeoutMs: limit.ms ?? stopMs })
      const { pid } = record
      if (options.json) await stdout.json({ stopped: true, directory, pid })
      else await stdout.line(`the server on ${directory} (pid ${pid}) has stopped`)
    })
  },
})

/** Waits until the process of a server has gone. It is no child of this process, so nothing tells
 *  of its end, and it is looked for. */
async function untilGone(
  record: ServerRecord,
  { directory, timeoutMs }: { readonly directory: string; readonly timeoutMs: number },
): Promise<void> {
  const deadline = AbortSignal.timeout(timeoutMs)
  try {
    while (isAlive(record)) await delay(exitCheckMs, undefined, { signal: deadline })
  } catch (cause) {
    if (!deadline.aborted) throw cause
    const message = `pid ${record.pid} has not ended within ${timeoutMs} ms: see ${directory}/server.log`
    throw new TailraceError('ETIMEDOUT', message, { cause })
  }
}

function linesOf(
  answer: Readonly<Record<string, unknown>>,
  options: { readonly utc: boolean },
): string[] {
  return Object.entries(answer).map(([name, field]) => {
    const isTime = name === 'started' && typeof field === 'number'
    const value = isTime ? timeText(field, options) : field
    return `${name.padEnd(12)} ${typeof value === 'object' ? jsonLine(value) : quoted(String(value))}`
  })
}

/** Sends one JSON request and returns the parsed answer. Throws the error that the server answers,
 *  ECLOSED (nobody listens), ETIMEDOUT. */
export async function requestJson(
  server: ServerAddress,
  method: 'GET' | 'POST',
  path: string,
  { body, timeoutMs }: { readonly body?: unknown; readonly timeoutMs: number },
): Promise<Readonly<Record<string, unknown>>> {
  const address = addressOf(server)
  const { request } = await import('ca' in address ? 'node:https' : 'node:http')
  const signal = AbortSignal.timeout(timeoutMs)
  const text = body === undefined ? '' : JSON.stringify(body)
  const asking = request({
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
    return parseAnswer(answer, await readText(answer), server.url)
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
