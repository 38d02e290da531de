/** Eventlogs as NDJSON, for people and curl: one JSON object a line. See rfc/8, rule 4.
 *  Invariant: `fromNdjson(toNdjson(event))` has the equal event, bytes
 *  included. Runs in browsers. */

import type { Event, EventValue } from '../api/event.js'
import { parseJson } from '../base/json.js'
import { decodeLong, parseLongJson, shortJsonMax } from '../base/long-json.js'
import { LoopSlice } from '../base/loop-slice.js'
import { encodeBase64 } from '../blob/base64.js'
import { reasonOf, TailraceError } from '../error.js'
import { parseEvent } from './event.js'

/** Returns the line of an event, with its newline. Bytes in the context are `{"base64": "…"}`. */
export function toNdjson(event: Event): string {
  return `${toJsonLine(event)}\n`
}

/** Returns the line of an event without its newline. */
export function toJsonLine({ timestamp, name, context }: Event): string {
  // Faster than one object for JSON.stringify: a server makes a hundred thousand for each reader.
  const begin = `{"timestamp":${JSON.stringify(timestamp)},"name":${JSON.stringify(name)}`
  return context === undefined
    ? `${begin}}`
    : `${begin},"context":${JSON.stringify(jsonOf(context))}}`
}

/** Returns the events of a text: one a line, with empty lines skipped, or a single event over many
 *  lines. `timestamp`, in seconds since 1970, is used for events without one. Throws EINVAL with
 *  the number of the line, from 1; E2BIG. */
export function fromNdjson(
  text: string | Uint8Array,
  options?: { readonly timestamp?: number },
): Event[] {
  const whole = typeof text === 'string' ? text : decodeUtf8(text)
  if (!isJson(firstLine(whole)) && isJson(whole)) {
    return [parseEvent(parseJson(whole, 'the event'), options)]
  }
  const events: Event[] = []
  for (const { line, number } of linesOf(whole)) {
    if (line.trim() !== '') events.push(eventOfLine(line, number, options))
  }
  return events
}

/** Yields the events of a long text as they are parsed, and lets the event loop turn meanwhile. It
 *  accepts and throws what `fromNdjson` does. */
export async function* eventsOfNdjson(
  bytes: Uint8Array,
  options?: { readonly timestamp?: number },
): AsyncGenerator<Event> {
  const slice = new LoopSlice()
  const whole = await decodeLong(bytes, 'the body', slice)
  if (!isJson(firstLine(whole))) {
    const parsed = await wholeOf(whole)
    if (parsed) {
      yield parseEvent(parsed.value, options)
      return
    }
  }
  for (const { line, number } of linesOf(whole)) {
    if (slice.over) await slice.turn()
    if (line.trim() === '') continue
    if (line.length <= shortJsonMax) {
      yield eventOfLine(line, number, options)
      continue
    }
    let event: Event
    try {
      event = parseEvent(await parseLongJson(line, 'it'), options)
    } catch (cause) {
      throw atLine(number, cause)
    }
    yield event
  }
}

function eventOfLine(
  line: string,
  number: number,
  options: { readonly timestamp?: number } | undefined,
): Event {
  try {
    return parseEvent(parseJson(line, 'it'), options)
  } catch (cause) {
    throw atLine(number, cause)
  }
}

function atLine(number: number, cause: unknown): TailraceError {
  const why = reasonOf(cause)
  return new TailraceError('EINVAL', `line ${number}: ${why}`, { cause })
}

/** Yields the lines of a text with their numbers, from 1. */
function* linesOf(whole: string): Iterable<{ readonly line: string; readonly number: number }> {
  for (let at = 0, number = 1; at <= whole.length; number++) {
    const found = whole.indexOf('\n', at)
    const end = found < 0 ? whole.length : found
    yield { line: whole.slice(at, end), number }
    at = end + 1
  }
}

/** Returns the first line that is not blank, without its leading blanks; '' if there is none. */
function firstLine(whole: string): string {
  const from = whole.search(/\S/)
  if (from < 0) return ''
  const end = whole.indexOf('\n', from)
  return whole.slice(from, end < 0 ? whole.length : end)
}

/** Returns the value of a text that is one JSON document; undefined if it is not JSON. Throws
 *  EINVAL and E2BIG for JSON that `parseLongJson` refuses. */
async function wholeOf(whole: string): Promise<{ readonly value: unknown } | undefined> {
  try {
    return { value: await parseLongJson(whole, 'the event') }
  } catch (error) {
    if (error instanceof TailraceError && error.cause instanceof SyntaxError) return undefined
    throw error
  }
}

/** True if a text is JSON, even if `parseJson` refuses it. */
function isJson(text: string): boolean {
  try {
    parseJson(text, 'it')
    return true
  } catch (error) {
    return !(error instanceof TailraceError && error.cause instanceof SyntaxError)
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new TailraceError('EINVAL', 'events are text in UTF-8', { cause })
  }
}

function jsonOf(value: EventValue): unknown {
  if (value === null || typeof value !== 'object') return value
  if (value instanceof Uint8Array) return { base64: encodeBase64(value) }
  if (Array.isArray(value)) return value.map(jsonOf)
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, jsonOf(item)]))
}
