/** Eventlogs as people and curl see them: one JSON object a line. See rfc/8.
 *  Invariant: `fromNdjson(toNdjson(event))` is the event, bytes included. Runs in browsers. */

import type { Event, EventValue } from '../api/event.js'
import { parseJson } from '../base/json.js'
import { decodeLong, parseLongJson, shortJsonMax } from '../base/long-json.js'
import { LoopSlice } from '../base/loop-slice.js'
import { encodeBase64 } from '../blob/base64.js'
import { TailraceError } from '../error.js'
import { parseEvent } from './event.js'

/** One line, its newline included. Bytes in the context are `{"base64": "…"}`. */
export function toNdjson(event: Event): string {
  return `${JSON.stringify({
    timestamp: event.timestamp,
    name: event.name,
    ...(event.context === undefined ? {} : { context: jsonOf(event.context) }),
  })}\n`
}

/** The events of a text: one a line, empty lines skipped, or one event over many lines.
 *  `timestamp` stands in for missing ones. Throws EINVAL with the number of the line, from 1. */
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

/** Like `fromNdjson`, for long texts: gives way, and gives the events as they are parsed. */
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
  const why = cause instanceof Error ? cause.message : String(cause)
  return new TailraceError('EINVAL', `line ${number}: ${why}`, { cause })
}

/** The lines of a text, from 1. */
function* linesOf(whole: string): Iterable<{ readonly line: string; readonly number: number }> {
  for (let at = 0, number = 1; at <= whole.length; number++) {
    const found = whole.indexOf('\n', at)
    const end = found < 0 ? whole.length : found
    yield { line: whole.slice(at, end), number }
    at = end + 1
  }
}

/** The first line that is not empty; empty where there is none. */
function firstLine(whole: string): string {
  const from = whole.search(/\S/)
  if (from < 0) return ''
  const end = whole.indexOf('\n', from)
  return whole.slice(from, end < 0 ? whole.length : end)
}

/** A text that is one JSON document; undefined where it is none. Throws EINVAL for one that is refused for what it
 *  says, E2BIG. */
async function wholeOf(whole: string): Promise<{ readonly value: unknown } | undefined> {
  try {
    return { value: await parseLongJson(whole, 'the event') }
  } catch (error) {
    if (error instanceof TailraceError && error.cause instanceof SyntaxError) return undefined
    throw error
  }
}

/** Whether a text is JSON, be it refused for what it says or not. */
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
