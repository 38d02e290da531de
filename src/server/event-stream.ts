/** Event streams (server-sent events: HTML, 9.2) of keys, eventlogs and output, for `EventSource`
 *  and `curl -N`. See rfc/12, rule 31.
 *  Invariant: the id of an event is the place behind it. A client that comes back with the last id
 *  misses no event and gets none twice. */

import type { Event } from '../api/event.js'
import type { AppendEvent, WatchEvent, Watching } from '../api/watch.js'
import { invalid } from '../base/shape.js'
import { toTailraceError } from '../error.js'
import { Splitter, toJsonLine } from '../eventlog/eventlog.js'
import type { OutputPiece } from '../eventlog/read-stream.js'
import type { LogPlace } from '../kvs/log-place.js'
import { errorBodyOf } from '../wire/status.js'
import type { Request } from './app.js'
import type { ServerContext } from './context.js'
import { batchSize } from './pace.js'
import { formatPlace, parsePlace } from './place.js'

/** The media type of an event stream. */
export const eventStreamType = 'text/event-stream; charset=utf-8'

/** The time after which a client comes back, in ms. */
const retryMs = 2_000

/** The heartbeat of an event stream. It is an event, since the program of a page does not see
 *  comments. */
export const eventHeartbeat = Buffer.from(frameOf({ event: 'heartbeat', json: '{}' }))

/** True if the client asks for an event stream by its media type. */
export function wantsEventStream(request: Request): boolean {
  const types = (request.headers.accept ?? '').split(',')
  return types.some((type) => type.split(';', 1)[0]?.trim().toLowerCase() === 'text/event-stream')
}

/** Returns the place where the client lost the stream, from `Last-Event-ID`. Undefined if this is
 *  its first request. Throws EINVAL. */
export function lastEventOf(request: Request): LogPlace | undefined {
  const id = request.headers['last-event-id']
  return typeof id === 'string' && id !== '' ? parsePlace(id, 'Last-Event-ID') : undefined
}

/** Returns the byte of a job's output that the client needs next, from `Last-Event-ID`. Undefined
 *  if this is its first request. Throws EINVAL. */
export function lastByteOf(request: Request): number | undefined {
  const id = request.headers['last-event-id']
  if (typeof id !== 'string' || id === '') return undefined
  if (/^[0-9]{1,15}$/.test(id)) return Number(id)
  throw invalid('Last-Event-ID must be an id of this stream')
}

/** Resolves to true if the client has all of a sealed log: it need not come back. */
export async function isOver(
  { store }: ServerContext,
  { key, namespace }: { readonly key: string; readonly namespace: string },
  last: LogPlace,
): Promise<boolean> {
  const stat = await store.stat(key, { namespace })
  if (!stat?.sealed || stat.count !== last.position.index) return false
  const end = await store.places.end(key, { namespace })
  return end?.position.prefix === last.position.prefix
}

/** Returns the place behind an append. */
function placeBehind({ position, offset, data, seq }: AppendEvent): LogPlace {
  return { position, offset: offset + data.length, seq }
}

/** Encodes the appends of a key. Bytes before the byte `from` are left out. `end` is the place
 *  behind all bytes that were there at the beginning. */
export function keyFrames(
  watching: Watching,
  { from, end }: { readonly from: number; readonly end: LogPlace | undefined },
): AsyncGenerator<Uint8Array> {
  return streamOf(keyFramesOf(watching, { from, end }))
}

async function* keyFramesOf(
  watching: Watching,
  { from, end }: { readonly from: number; readonly end: LogPlace | undefined },
): AsyncGenerator<string | Uint8Array> {
  for await (const event of watching) {
    if (event.type !== 'append') {
      const text = frameOfOther(event, end)
      if (text !== undefined) yield text
      continue
    }
    const skipped = Math.max(0, from - event.offset)
    // All bytes of this append are before `from`.
    if (skipped > 0 && skipped >= event.data.length) continue
    yield appendFrame(event, skipped)
  }
}

/** Encodes the frame of an append, without its first bytes. Whoever waits for a slow client holds the event
 *  and these bytes: no text of it. */
function appendFrame(event: AppendEvent, skipped: number): Uint8Array {
  const { index, seq, more } = event
  const bytes = event.data.subarray(skipped)
  const id = formatPlace(placeBehind(event))
  const offset = event.offset + skipped
  const head = `id: ${id}\ndata: {"index":${index},"offset":${offset},"seq":${seq},"data":`
  const tail = `${more ? ',"more":true' : ''}}\n\n`
  const data = JSON.stringify(dataOf(bytes))
  const frame = Buffer.allocUnsafe(head.length + Buffer.byteLength(data) + tail.length)
  let at = frame.write(head)
  at += frame.write(data, at)
  frame.write(tail, at)
  return frame
}

/** Encodes an event of a watch of appends that is no append. Undefined if it is none of its stream. */
function frameOfOther(
  event: Exclude<WatchEvent, AppendEvent>,
  end: LogPlace | undefined,
): string | undefined {
  if (event.type === 'live') {
    // The id tells a client that got no append yet which place to come back to.
    const { index, prefix } = event.position ?? {}
    const known = end?.position.index === index && end?.position.prefix === prefix
    return frameOf({ event: 'live', ...(known && end && { id: formatPlace(end) }), json: '{}' })
  }
  if (event.type !== 'end') return undefined
  return frameOf({ event: 'end', json: JSON.stringify({ reason: event.reason }) })
}

/** Encodes the events of an eventlog. The stream ends after the first event with the name
 *  `waitEvent`. */
export function eventlogFrames(
  watching: Watching,
  waitEvent: string | undefined,
): AsyncGenerator<Uint8Array> {
  const splitter = new Splitter()
  const frames = framesOf(watching, function* (append) {
    let last: Event | undefined
    let over = false
    for (const event of splitter.push(append.data)) {
      if (last) yield { json: toJsonLine(last) }
      last = event
      over = event.name === waitEvent
      if (over) break
    }
    if (last) yield { id: formatPlace(placeBehind(append)), json: toJsonLine(last) }
    if (over) yield { event: 'end', json: '{"reason":"event"}' }
  })
  return streamOf(frames)
}

/** Encodes the pieces of a job's output. The id of a piece is the byte of the output behind it. */
export function outputFrames(pieces: AsyncIterable<OutputPiece>): AsyncGenerator<Uint8Array> {
  return streamOf(framesOfOutput(pieces))
}

/** Encodes the events of a watch of values or changes. `idOf` returns the id behind an event; undefined
 *  if it stays as it was. */
export function stateFrames(
  events: AsyncIterable<WatchEvent>,
  idOf: (event: WatchEvent) => string | undefined,
): AsyncGenerator<Uint8Array> {
  return streamOf(framesOfState(events, idOf))
}

async function* framesOfState(
  events: AsyncIterable<WatchEvent>,
  idOf: (event: WatchEvent) => string | undefined,
): AsyncGenerator<string> {
  for await (const event of events) {
    const { type, ...fields } = event
    const data = 'data' in fields && fields.data ? { data: dataOf(fields.data) } : {}
    const id = idOf(event)
    const json = JSON.stringify(type === 'live' ? {} : { ...fields, ...data })
    yield frameOf({ ...(id !== undefined && { id }), event: type, json })
  }
}

async function* framesOfOutput(pieces: AsyncIterable<OutputPiece>): AsyncGenerator<string> {
  for await (const { offset, data } of pieces) {
    const json = JSON.stringify({ offset, data: dataOf(data) })
    yield frameOf({ id: String(offset + data.length), json })
  }
  yield frameOf({ event: 'end', json: '{"reason":"eof"}' })
}

/** One message of an event stream. REQUIRES: `json` has no line end in it. */
type Frame = { readonly id?: string; readonly event?: string; readonly json: string }

/** Turns the events of a watch into text: the frames of one append together, or in pieces of about
 *  `batchSize`, since each piece takes a turn of its own. A frame `end` is the last one. */
async function* framesOf(
  watching: Watching,
  framesOfAppend: (event: AppendEvent) => Iterable<Frame>,
): AsyncGenerator<string> {
  for await (const event of watching) {
    if (event.type === 'append') {
      let text = ''
      let over = false
      for (const frame of framesOfAppend(event)) {
        text += frameOf(frame)
        over = frame.event === 'end'
        if (over) break
        if (text.length < batchSize) continue
        yield text
        text = ''
      }
      if (text !== '') yield text
      if (over) return
      continue
    }
    const text = frameOfOther(event, undefined)
    if (text !== undefined) yield text
  }
}

/** Encodes frames. The time after which to come back goes first. If the stream fails, a frame with
 *  the error goes last. */
async function* streamOf(frames: AsyncIterable<string | Uint8Array>): AsyncGenerator<Uint8Array> {
  let begun = false
  try {
    for await (const frame of frames) {
      if (!begun) yield Buffer.from(`retry: ${retryMs}\n\n`)
      begun = true
      yield typeof frame === 'string' ? Buffer.from(frame) : frame
    }
  } catch (error) {
    // An error before the first event is answered in the envelope of rfc/12, rule 3.
    if (begun) {
      const json = JSON.stringify(errorBodyOf(toTailraceError(error)))
      yield Buffer.from(frameOf({ event: 'failure', json }))
    }
    throw error
  }
}

function frameOf({ id, event, json }: Frame): string {
  const name = event === undefined ? '' : `event: ${event}\n`
  const place = id === undefined ? '' : `id: ${id}\n`
  return `${name}${place}data: ${json}\n\n`
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns the bytes as text if they are UTF-8, else as `{base64}`. */
function dataOf(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes)
  } catch {
    return { base64: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64') }
  }
}
