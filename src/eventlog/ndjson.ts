/** Eventlogs as people and curl see them: one JSON object a line. See rfc/8.
 *  Invariant: `fromNdjson(toNdjson(event))` is the event, bytes included. Runs in browsers. */

import type { ContextValue, Event } from '../api/event.js'
import { parseJson } from '../base/json.js'
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
  const lines = whole.split('\n')
  const first = lines.find((line) => line.trim() !== '')
  if (first !== undefined && !isJson(first) && isJson(whole)) {
    return [parseEvent(parseJson(whole, 'the event'), options)]
  }
  const events: Event[] = []
  for (const [index, line] of lines.entries()) {
    if (line.trim() !== '') events.push(eventOfLine(line, index + 1, options))
  }
  return events
}

function eventOfLine(
  line: string,
  number: number,
  options: { readonly timestamp?: number } | undefined,
): Event {
  try {
    return parseEvent(parseJson(line, 'it'), options)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TailraceError('EINVAL', `line ${number}: ${why}`, { cause })
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

function jsonOf(value: ContextValue): unknown {
  if (value === null || typeof value !== 'object') return value
  if (value instanceof Uint8Array) return { base64: encodeBase64(value) }
  if (Array.isArray(value)) return value.map(jsonOf)
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, jsonOf(item)]))
}
