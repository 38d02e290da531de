/** The commands about the server itself: status, stop, token. They start none. See rfc/13. */

import { setTimeout as delay } from 'node:timers/promises'
import { TailraceError } from '../error.js'
import { ensureToken, prepareDirectory, type ServerRecord } from '../server/local.js'
import type { Invocation } from './invocation.js'
import { dataDirectory, findServer, isAlive } from './local.js'
import { requestJson } from './request.js'
import { localTarget, namedTarget, type Target } from './session.js'

/** A stop that takes longer is reported, not waited for. */
const stopMs = 15_000
/** Between two looks for a process that ends. */
const exitCheckMs = 10

export async function status(invocation: Invocation): Promise<number> {
  const { options, stdout } = invocation
  const named = await namedTarget(invocation)
  const directory = directoryOf(invocation)
  const record = named ? undefined : await findServer(directory)
  const target = named ?? (record && localTarget(record))
  if (!target) {
    if (options.flag('json')) await stdout.json({ running: false, directory })
    else await stdout.line(`no server runs on ${directory}; a command that needs one starts it`)
    return 1
  }
  const answer = await requestJson(target, 'GET', '/v1/status')
  if (options.flag('json')) await stdout.json({ running: true, ...answer })
  else await stdout.write(textOf(answer))
  return 0
}

export async function stop(invocation: Invocation): Promise<undefined> {
  const named = await namedTarget(invocation)
  if (named) {
    await requestStop(named, invocation)
    return undefined
  }
  const directory = directoryOf(invocation)
  const record = await findServer(directory)
  if (!record) {
    await invocation.stdout.line(`no server runs on ${directory}`)
    return undefined
  }
  await requestStop(localTarget(record), invocation)
  await untilGone(directory, record)
  await invocation.stdout.line(`the server on ${directory} (pid ${record.pid}) has stopped`)
  return undefined
}

export async function token(invocation: Invocation): Promise<undefined> {
  const directory = await prepareDirectory(directoryOf(invocation))
  await invocation.stdout.line(await ensureToken(directory))
  return undefined
}

async function requestStop(target: Target, invocation: Invocation): Promise<void> {
  const force = invocation.options.flag('force') ? { force: true } : {}
  await requestJson(target, 'POST', '/v1/stop', force)
}

/** A process that is not our child tells nobody of its end: it is looked for until it has gone. */
async function untilGone(directory: string, record: ServerRecord): Promise<void> {
  const deadline = AbortSignal.timeout(stopMs)
  try {
    while (isAlive(record)) await delay(exitCheckMs, undefined, { signal: deadline })
  } catch (cause) {
    if (!deadline.aborted) throw cause
    const message = `pid ${record.pid} has not ended within ${stopMs} ms: see ${directory}/server.log`
    throw new TailraceError('ETIMEDOUT', message, { cause })
  }
}

function textOf(answer: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(answer).map(([name, value]) => {
    return `${name.padEnd(12)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}\n`
  })
  return lines.join('')
}

function directoryOf(invocation: Invocation): string {
  return dataDirectory(invocation.options.text('data'), invocation.environment)
}
