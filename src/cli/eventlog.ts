/** `tailrace eventlog`: events in and out, one JSON object a line. See rfc/8. */

import type { Event } from '../api/event.js'
import { parseJson } from '../base/json.js'
import { TailraceError } from '../error.js'
import {
  appendEvents,
  followEvents,
  parseEvent,
  readEvents,
  toNdjson,
} from '../eventlog/eventlog.js'
import { capOf } from './cap.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { followStore, withStore } from './session.js'

export async function append(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const event = eventOf(invocation)
  const { options, stdout } = invocation
  const seal = options.flag('seal') ? { seal: true } : {}
  return withStore(invocation, async (store) => {
    const committed = await appendEvents(store, key, [event], {
      ...scopeOf(invocation),
      ...seal,
      ...capOf(invocation),
      guards: leaseGuards(invocation),
    })
    if (options.flag('json')) await stdout.json(committed)
    return undefined
  })
}

export async function get(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const at = invocation.options.at('at')
  return withStore(invocation, (store) =>
    print(invocation, readEvents(store, key, { ...scopeOf(invocation), ...defined({ at }) })),
  )
}

export async function follow(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const waitCreate = invocation.options.flag('waitCreate') ? { waitCreate: true } : {}
  return followStore(invocation, (store) =>
    print(invocation, followEvents(store, key, { ...scopeOf(invocation), ...waitCreate })),
  )
}

export async function waitEvent(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const name = argument(invocation, 1)
  const waitCreate = invocation.options.flag('waitCreate') ? { waitCreate: true } : {}
  return followStore(invocation, async (store) => {
    const events = followEvents(store, key, { ...scopeOf(invocation), ...waitCreate })
    for await (const event of events) {
      if (event.name !== name) continue
      await invocation.stdout.line(toNdjson(event).trimEnd())
      return undefined
    }
    throw new TailraceError('ENOENT', `the log "${key}" is sealed and has no event "${name}"`)
  })
}

async function print(invocation: Invocation, events: AsyncIterable<Event>): Promise<undefined> {
  for await (const event of events) await invocation.stdout.line(toNdjson(event).trimEnd())
  return undefined
}

function eventOf(invocation: Invocation): Event {
  const text = invocation.options.text('timestamp')
  const timestamp = text === undefined ? Date.now() / 1000 : parseJson(text, '--timestamp')
  const context = contextOf(invocation.arguments[2])
  return parseEvent({ name: argument(invocation, 1), timestamp, ...defined({ context }) })
}

function contextOf(text: string | undefined): unknown {
  if (text === undefined) return undefined
  try {
    return parseJson(text, 'the context')
  } catch (error) {
    if (!(error instanceof TailraceError)) throw error
    throw new UsageError(`${error.message}; the context of an event is a JSON object`)
  }
}

function scopeOf(invocation: Invocation): { namespace?: string } {
  return defined({ namespace: invocation.options.text('namespace') })
}
