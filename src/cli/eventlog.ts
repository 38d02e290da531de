/** `tailrace eventlog`: events in and out, one JSON object a line. See rfc/8. */

import type { Event } from '../api/event.js'
import { parseJson } from '../base/json.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import {
  argument,
  type CommandContext,
  command,
  commandGroup,
  flag,
  key,
  option,
  UsageError,
  type ValueKind,
} from './command.js'
import {
  at,
  cap,
  capOf,
  ifLease,
  json,
  jsonLines,
  leaseGuards,
  namespace,
  place,
  waitCreate,
} from './options.js'
import { atRoot } from './roots.js'
import { followStore, withStore } from './session.js'

/** Loads the codec of events, which only the commands that run need. */
function loaded(): Promise<typeof import('../eventlog/eventlog.js')> {
  return import('../eventlog/eventlog.js')
}

/** The context of an event, a JSON object. */
const context: ValueKind<unknown> = {
  parse: (text) => {
    try {
      return parseJson(text, 'the context')
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      throw new UsageError(`${error.message}; the context of an event is a JSON object`)
    }
  },
}

const append = command({
  name: 'append',
  summary: 'append one event; its context is JSON',
  parameters: {
    key: argument('<key>', key),
    name: argument('<name>'),
    context: argument('[context]', context),
  },
  options: {
    namespace,
    seal: flag('--seal', 'end the log'),
    timestamp: option('--timestamp <seconds>', 'seconds since 1970 (default: now)', {
      parse: (text, what) => parseJson(text, what),
    }),
    ...cap,
    ...ifLease,
    json,
    ...place,
  },
  examples: [`tailrace eventlog append deploy start '{"version":"1.2"}'`],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const { timestamp = Date.now() / 1000 } = options
    const { name, context } = args
    const { appendEvents, parseEvent } = await loaded()
    const event = parseEvent({ name, timestamp, ...defined({ context }) })
    return withStore(call, async (store) => {
      const committed = await appendEvents(store, args.key, [event], {
        ...scopeOf(options),
        ...(options.seal ? { seal: true } : {}),
        ...capOf(options),
        guards: leaseGuards(call),
      })
      if (options.json) await stdout.json(committed)
    })
  },
})

const get = command({
  name: 'get',
  summary: 'print the events that are there, one JSON object a line',
  parameters: { key: argument('<key>', key) },
  options: { namespace, at, json: jsonLines, ...place },
  examples: ['tailrace eventlog get deploy'],
  run: async (call) => {
    const { args, options } = call
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, options.namespace)
      const { readEvents } = await loaded()
      await printEvents(call, readEvents(store, args.key, { ...scopeOf(options), ...at }))
    })
  },
})

const follow = command({
  name: 'follow',
  summary: 'print the events, then each new one, until the log is sealed',
  parameters: { key: argument('<key>', key) },
  options: { namespace, waitCreate, json: jsonLines, ...place },
  examples: ['tailrace eventlog follow deploy'],
  makesStore: 'waitCreate',
  run: async (call) =>
    followStore(call, async (store) => {
      const { followEvents } = await loaded()
      await printEvents(call, followEvents(store, call.args.key, followed(call)))
    }),
})

const waitEvent = command({
  name: 'wait-event',
  summary: 'wait for the first event of a name and print it',
  parameters: { key: argument('<key>', key), name: argument('<name>') },
  options: { waitCreate, namespace, json: jsonLines, ...place },
  examples: [
    'tailrace eventlog wait-event deploy finish',
    'tailrace eventlog wait-event --wait-create --timeout 10m deploy finish',
  ],
  makesStore: 'waitCreate',
  run: async (call) => {
    const { key, name } = call.args
    return followStore(call, async (store) => {
      const { followEvents, toJsonLine } = await loaded()
      for await (const event of followEvents(store, key, followed(call))) {
        if (event.name !== name) continue
        await call.stdout.line(toJsonLine(event))
        return
      }
      throw new TailraceError('ENOENT', `the log "${key}" is sealed and has no event "${name}"`)
    })
  },
})

export const eventlog = commandGroup({
  name: 'eventlog',
  summary: 'append, read, follow and await events',
  commands: [append, get, follow, waitEvent],
  examples: [
    `tailrace eventlog append deploy start '{"version":"1.2"}'`,
    'tailrace eventlog follow deploy',
  ],
})

/** Prints events as they come, one JSON object a line. */
export async function printEvents(
  { stdout }: Pick<CommandContext, 'stdout'>,
  events: AsyncIterable<Event>,
): Promise<void> {
  const { toJsonLine } = await loaded()
  for await (const event of events) await stdout.line(toJsonLine(event))
}

type Followed = { readonly namespace: string | undefined; readonly waitCreate: boolean }

function followed({ options }: { readonly options: Followed }) {
  return { ...scopeOf(options), ...(options.waitCreate ? { waitCreate: true } : {}) }
}

function scopeOf({ namespace }: { readonly namespace: string | undefined }) {
  return defined({ namespace })
}
