/** `tailrace watch`: a key's appends as raw bytes, or its values, as they come. See rfc/7.
 *  Invariant: nothing is asked for before what was there is printed. */

import type { Store } from '../api/store.js'
import type { From, ValueEvent, WatchEvent, WatchOptions } from '../api/watch.js'
import { isCode, toTailraceError } from '../error.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { leaseLine } from './lease.js'
import { logEvents } from './log-events.js'
import { followStore } from './session.js'
import { ValueOutput } from './value-output.js'

export async function watch(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const mode = modeOf(invocation)
  const start = startOf(invocation)
  for (const name of ['lease', 'uniq']) {
    if (mode !== 'value' && invocation.options.flag(name)) {
      throw new UsageError(`--${name} goes with --mode value`)
    }
  }
  if (mode === 'value' && start !== undefined) {
    throw new UsageError(
      '--from, --offset and --last go with --mode append: a watch of values begins with the newest, "tailrace log" has those before',
    )
  }
  const { options } = invocation
  return followStore(invocation, async (store) => {
    const asked = defined({
      namespace: options.text('namespace'),
      from: start === 'end' ? await endOf(invocation, store, key) : start,
      waitCreate: options.flag('waitCreate') ? true : undefined,
      uniq: options.flag('uniq') ? true : undefined,
      lease: options.flag('lease') ? true : undefined,
    })
    const watching =
      mode === 'append'
        ? logEvents(invocation, store, key, asked)
        : store.watch(key, { mode, ...asked })
    const log = new ValueOutput(invocation.stdout, { force: options.flag('force') })
    // Without --follow, the watch of a key that was not there yet ends after the first append.
    let missing = false
    try {
      for await (const event of watching) {
        if (options.flag('json')) await invocation.stdout.json(jsonOf(event))
        else if (event.type === 'append') await log.write(event.data)
        else await print(invocation, store, key, event)
        missing ||= event.type === 'live' && event.position === undefined
        const shown = missing
          ? event.type === 'append' && !event.more
          : event.type === 'live' || event.type === 'value'
        if (shown && !options.flag('follow')) break
        if (shown) await log.release()
      }
    } finally {
      await log.release()
    }
    await log.end()
    return undefined
  })
}

async function print(
  invocation: Invocation,
  store: Store,
  key: string,
  event: WatchEvent,
): Promise<void> {
  if (event.type === 'value') await printValue(invocation, store, key, event)
  else if (event.type === 'lease') await invocation.stdout.line(`lease: ${leaseLine(event)}`)
}

/** The value on lines of its own. */
async function printValue(
  invocation: Invocation,
  store: Store,
  key: string,
  event: ValueEvent,
): Promise<void> {
  const force = invocation.options.flag('force')
  const output = new ValueOutput(invocation.stdout, { force, isLine: true })
  const chunks = event.data ? [event.data] : await largeValue(invocation, store, key, event)
  if (!chunks) return
  for await (const chunk of chunks) await output.write(chunk)
  await output.end()
}

async function largeValue(
  invocation: Invocation,
  store: Store,
  key: string,
  event: ValueEvent,
): Promise<AsyncIterable<Uint8Array> | readonly Uint8Array[] | undefined> {
  const namespace = invocation.options.text('namespace')
  try {
    const reading = await store.read(key, { at: event.seq, ...defined({ namespace }) })
    return reading?.chunks ?? []
  } catch (error) {
    if (!isCode(error, 'ECOMPACTED')) throw error
    // We were slower than the retention: newer values follow.
    const { message } = toTailraceError(error)
    await invocation.stderr.line(`tailrace: the value of seq ${event.seq} is skipped: ${message}`)
    return undefined
  }
}

/** Bytes as {"base64": …}, as everywhere in JSON. */
function jsonOf(event: WatchEvent): unknown {
  if (!('data' in event) || event.data === undefined) return event
  const { data, ...rest } = event
  return { ...rest, data: { base64: Buffer.from(data).toString('base64') } }
}

function modeOf(invocation: Invocation): WatchOptions['mode'] {
  const mode = invocation.options.text('mode') ?? 'append'
  if (mode !== 'append' && mode !== 'value') {
    throw new UsageError(`--mode is append or value, not "${mode}"`)
  }
  return mode
}

/** `end`: nothing of what is there. */
function startOf(invocation: Invocation): From | 'end' | undefined {
  const { options } = invocation
  const from = options.integer('from', Number.MIN_SAFE_INTEGER)
  const offset = options.integer('offset')
  const last = options.integer('last')
  const given = [from, offset, last].filter((value) => value !== undefined)
  if (given.length > 1) throw new UsageError('--from, --offset and --last exclude each other')
  if (offset !== undefined) return { offset }
  if (last === undefined) return from
  return last === 0 ? 'end' : -last
}

async function endOf(invocation: Invocation, store: Store, key: string): Promise<number> {
  const stat = await store.stat(key, defined({ namespace: invocation.options.text('namespace') }))
  return stat?.count ?? 0
}
