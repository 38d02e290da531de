/** Events, as values and as stored bytes. See rfc/8. The fields are those of Flux RFC 18.
 *  Invariant: an event is stored as arrays, never as a map, so that every name of a context
 *  (`__proto__`, `1`) comes back unchanged. Pure; runs in browsers. */

import {
  type Event,
  type EventContext,
  type EventValue,
  eventDepthMax,
  eventNameSizeMax,
  eventSizeMax,
} from '../api/event.js'
import { decodeBase64 } from '../blob/base64.js'
import { blobSizeMax, join } from '../blob/blob.js'
import { decodeAll, encode, type Plain } from '../blob/codec.js'
import { TailraceError } from '../error.js'

/** The first element of a stored array: it says if the rest is a list, or the names
 *  and values of an object. */
const arrayTag = 0
const objectTag = 1

const utf8 = new TextEncoder()

/** Parses a JSON event. `timestamp`, in seconds since 1970, is used for an event without one. An
 *  object whose only name is `base64` is bytes. Throws EINVAL. */
export function parseEvent(input: unknown, options?: { readonly timestamp?: number }): Event {
  if (!isRecord(input)) throw new TailraceError('EINVAL', 'an event is an object')
  for (const field of Object.keys(input)) {
    if (field !== 'timestamp' && field !== 'name' && field !== 'context') {
      throw new TailraceError('EINVAL', `an event has no field ${JSON.stringify(field)}`)
    }
  }
  const fields: { readonly [field in keyof Event]?: unknown } = input
  const timestamp = fields.timestamp ?? options?.timestamp
  if (typeof timestamp !== 'number' || !Number.isFinite(timestamp) || timestamp < 0) {
    throw new TailraceError('EINVAL', 'the timestamp of an event is its seconds since 1970')
  }
  const name = parseName(fields.name)
  if (fields.context === undefined) return { timestamp, name }
  const context = isRecord(fields.context) ? parseContext(fields.context, 1) : undefined
  if (!isContext(context)) {
    throw new TailraceError('EINVAL', 'the context of an event is an object')
  }
  return { timestamp, name, context }
}

/** Returns the stored bytes of an event. Throws EINVAL for what is no event,
 *  E2BIG above `eventSizeMax`. */
export function encodeEvent(event: Event): Uint8Array {
  const { timestamp, name, context } = parseEvent(event)
  const bytes = encode(context ? [timestamp, name, plainOf(context)] : [timestamp, name])
  if (bytes.length > eventSizeMax) {
    throw new TailraceError('E2BIG', `an event has at most ${eventSizeMax} bytes when encoded`)
  }
  return bytes
}

/** Returns the stored bytes of events, one after the other, in pieces that fit a blob each. No
 *  event spans two pieces. Throws EINVAL, E2BIG. */
export function encodeEvents(events: readonly Event[]): Uint8Array[] {
  const pieces = new EventPieces()
  for (const event of events) pieces.push(event)
  return pieces.end()
}

/** Gathers events into the pieces of `encodeEvents`, one event at a time. Mutable; owned by the
 *  loop that made it. */
export class EventPieces {
  readonly #pieces: Uint8Array[] = []
  #open: Uint8Array[] = []
  #openSize = 0

  /** Adds an event. Throws EINVAL, E2BIG. */
  push(event: Event): void {
    const bytes = encodeEvent(event)
    if (this.#openSize + bytes.length > blobSizeMax) this.#cut()
    this.#open.push(bytes)
    this.#openSize += bytes.length
  }

  /** Returns all pieces. REQUIRES: it is the last call. */
  end(): Uint8Array[] {
    if (this.#openSize > 0) this.#cut()
    return this.#pieces
  }

  #cut(): void {
    this.#pieces.push(join(this.#open))
    this.#open = []
    this.#openSize = 0
  }
}

/** Returns the events of one blob, or of several joined ones. Bytes in contexts are views of
 *  `bytes`. Throws EINVAL for other bytes: that is no damage of the store, since a caller may
 *  append any bytes to a key. */
export function decodeEvents(bytes: Uint8Array): Event[] {
  return valuesOf(bytes).map(eventOf)
}

function valuesOf(bytes: Uint8Array): readonly unknown[] {
  try {
    return decodeAll(bytes)
  } catch (cause) {
    throw notEvents({ cause })
  }
}

function eventOf(value: unknown): Event {
  if (!Array.isArray(value) || value.length < 2 || value.length > 3) throw notEvents()
  const [timestamp, name, context] = value as unknown[]
  if (typeof timestamp !== 'number' || typeof name !== 'string') throw notEvents()
  if (value.length === 2) return { timestamp, name }
  if (!Array.isArray(context) || context[0] !== objectTag) throw notEvents()
  return { timestamp, name, context: objectOf(context, 1) }
}

function contextOf(value: unknown, depth: number): EventValue {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'number':
      return value
    case 'object':
      if (value === null || value instanceof Uint8Array) return value
      if (!Array.isArray(value) || depth > eventDepthMax) throw notEvents()
      if (value[0] === objectTag) return objectOf(value, depth)
      if (value[0] !== arrayTag) throw notEvents()
      return value.slice(1).map((item) => contextOf(item, depth + 1))
    case 'bigint':
      throw new TailraceError(
        'EINVAL',
        `an event has the number ${value}, which this version cannot keep: ${readBytes}`,
      )
    default:
      throw notEvents()
  }
}

function objectOf(tagged: readonly unknown[], depth: number): EventContext {
  if (tagged.length % 2 === 0) throw notEvents()
  const entries: [string, EventValue][] = []
  for (let at = 1; at < tagged.length; at += 2) {
    const name = tagged[at]
    if (typeof name !== 'string') throw notEvents()
    entries.push([name, contextOf(tagged[at + 1], depth + 1)])
  }
  // `fromEntries` defines own properties: `__proto__` is a name like any other.
  return Object.fromEntries(entries)
}

/** The advice for a value that is no eventlog. */
const readBytes = 'read its bytes (GET /v1/kv, "tailrace get")'

/** Returns the EINVAL for a value that is read as an eventlog but is none. */
export function notEvents(options?: { readonly cause: unknown }): TailraceError {
  const message = `the value is no eventlog, other bytes were put or appended there: ${readBytes}`
  return new TailraceError('EINVAL', message, options)
}

function plainOf(value: EventValue): Plain {
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value
  if (isList(value)) return [arrayTag, ...value.map(plainOf)]
  return [objectTag, ...Object.entries(value).flatMap(([name, item]) => [name, plainOf(item)])]
}

function parseName(input: unknown): string {
  if (typeof input !== 'string' || !input.isWellFormed()) {
    throw new TailraceError('EINVAL', 'the name of an event is text')
  }
  const size = utf8.encode(input).length
  if (size < 1 || size > eventNameSizeMax) {
    throw new TailraceError('EINVAL', `the name of an event has 1 to ${eventNameSizeMax} bytes`)
  }
  return input
}

function parseContext(input: unknown, depth: number): EventValue {
  if (depth > eventDepthMax) {
    throw new TailraceError('EINVAL', `a context is at most ${eventDepthMax} levels deep`)
  }
  switch (typeof input) {
    case 'boolean':
      return input
    case 'string':
      return wellFormed(input)
    case 'number':
      if (Number.isFinite(input)) return input
      break
    case 'object':
      if (input === null || input instanceof Uint8Array) return input
      if (Array.isArray(input)) return input.map((item) => parseContext(item, depth + 1))
      return parseObject(input, depth)
  }
  throw new TailraceError('EINVAL', 'a context holds JSON values and bytes')
}

function parseObject(input: object, depth: number): EventValue {
  const entries = Object.entries(input)
  const [first] = entries
  if (entries.length === 1 && first?.[0] === 'base64') {
    if (typeof first[1] === 'string') return decodeBase64(first[1])
    throw new TailraceError('EINVAL', '"base64" is text in padded base64')
  }
  return Object.fromEntries(
    entries.map(([name, item]) => [wellFormed(name), parseContext(item, depth + 1)]),
  )
}

function wellFormed(text: string): string {
  if (text.isWellFormed()) return text
  throw new TailraceError(
    'EINVAL',
    'a context holds well-formed text (a lone surrogate: use bytes)',
  )
}

function isRecord(input: unknown): input is Readonly<Record<string, unknown>> {
  return (
    typeof input === 'object' &&
    input !== null &&
    !Array.isArray(input) &&
    !(input instanceof Uint8Array)
  )
}

function isContext(value: EventValue | undefined): value is EventContext {
  return isRecord(value)
}

/** True for an array. It is needed because `Array.isArray` does not narrow readonly arrays. */
function isList(value: EventContext | readonly EventValue[]): value is readonly EventValue[] {
  return Array.isArray(value)
}
