/** The commands about the server itself: status, stop, token. They start none. See rfc/13. */

import { setTimeout as delay } from 'node:timers/promises'
import { TailraceError } from '../error.js'
import { ensureToken, hasStore, type ServerRecord } from '../server/local.js'
import { timeText } from './format.js'
import type { Invocation, Options } from './invocation.js'
import { dataDirectory, findServer, isAlive, noStore } from './local.js'
import { jsonLine, quoted } from './quote.js'
import { noAnswer } from './report.js'
import { requestJson } from './request.js'
import { localTarget, namedTarget } from './session.js'
import { TimeLimit } from './time-limit.js'

/** A stop that takes longer is reported, not waited for. */
const stopMs = 15_000
/** A server that says nothing for so long is given up. */
const answerMs = 10_000
/** Between two looks for a process that ends. */
const exitCheckMs = 10

export async function status(invocation: Invocation): Promise<number> {
  const { options, stdout } = invocation
  const named = await namedTarget(invocation)
  const directory = directoryOf(invocation)
  const record = named ? undefined : await findServer(directory)
  const target = named ?? (record && localTarget(record))
  if (!target) {
    const store = await hasStore(directory)
    if (options.flag('json')) await stdout.json({ running: false, directory, store })
    else if (store)
      await stdout.line(`no server runs on ${directory}; a command that needs one starts it`)
    else await stdout.line(`no server runs on ${directory}, and there is no store in it`)
    return noAnswer
  }
  const limit = new TimeLimit(invocation)
  const asking = { timeoutMs: limit.ms ?? answerMs }
  const answer = await limit.bound(() => requestJson(target, 'GET', '/v1/status', asking))
  if (options.flag('json')) await stdout.json({ running: true, ...answer })
  else await stdout.lines(linesOf(answer, options))
  return 0
}

export async function stop(invocation: Invocation): Promise<undefined> {
  const limit = new TimeLimit(invocation)
  return limit.bound(() => stopWithin(invocation, limit))
}

async function stopWithin(invocation: Invocation, { ms }: TimeLimit): Promise<undefined> {
  const { options, stdout } = invocation
  const asking = {
    body: options.flag('force') ? { force: true } : {},
    timeoutMs: ms ?? answerMs,
  }
  const named = await namedTarget(invocation)
  if (named) {
    await requestJson(named, 'POST', '/v1/stop', asking)
    if (options.flag('json')) await stdout.json({ stopped: true })
    return undefined
  }
  const directory = directoryOf(invocation)
  const record = await findServer(directory)
  if (!record) {
    if (options.flag('json')) await stdout.json({ stopped: false, directory })
    else await stdout.line(`no server runs on ${directory}`)
    return undefined
  }
  await requestJson(localTarget(record), 'POST', '/v1/stop', asking)
  await untilGone(record, { directory, timeoutMs: ms ?? stopMs })
  const { pid } = record
  if (options.flag('json')) await stdout.json({ stopped: true, directory, pid })
  else await stdout.line(`the server on ${directory} (pid ${pid}) has stopped`)
  return undefined
}

export async function token(invocation: Invocation): Promise<undefined> {
  const directory = directoryOf(invocation)
  if (!(await hasStore(directory))) throw noStore(directory)
  const text = await ensureToken(directory)
  if (invocation.options.flag('json')) await invocation.stdout.json({ token: text })
  else await invocation.stdout.line(text)
  return undefined
}

/** A process that is not our child tells nobody of its end: it is looked for until it has gone. */
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

function linesOf(answer: Readonly<Record<string, unknown>>, options: Options): string[] {
  return Object.entries(answer).map(([name, field]) => {
    const isTime = name === 'started' && typeof field === 'number'
    const value = isTime ? timeText(field, options) : field
    return `${name.padEnd(12)} ${typeof value === 'object' ? jsonLine(value) : quoted(String(value))}`
  })
}

function directoryOf(invocation: Invocation): string {
  return dataDirectory(invocation.options.text('data'), invocation.environment)
}
