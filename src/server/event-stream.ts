/** Server-sent events (HTML, 9.2): what is followed, for `EventSource` and for `curl -N`. See rfc/12, rule 31.
 *  Invariant: the id of an event is the place behind it, so that a client that comes back with the last
 *  one misses nothing and gets nothing twice. */

import type { Event } from '../api/event.js'
import type { AppendEvent, Watching } from '../api/watch.js'
import { invalid } from '../base/shape.js'
import { toTailraceError } from '../error.js'
import { Splitter, toNdjson } from '../eventlog/eventlog.js'
import type { OutputPiece } from '../eventlog/read-stream.js'
import type { LogPlace } from '../kvs/log-place.js'
import { errorBodyOf } from '../wire/status.js'
import type { Request } from './app.js'
import type { ServerContext } from './context.js'
import { formatPlace, parsePlace } from './place.js'

export const eventStreamType = 'text/event-stream; charset=utf-8'

/** A client comes back after this time. */
const retryMs = 2_000

/** An event, for comments do not reach a page's program. */
export const eventHeartbeat = frameOf({ event: 'heartbeat', json: '{}' })

/** Whether the client asked for an event stream by its name. */
export function wantsEventStream(request: Request): boolean {
  const types = (request.headers.accept ?? '').split(',')
  return types.some((type) => type.split(';', 1)[0]?.trim().toLowerCase() === 'text/event-stream')
}

/** Place where the client lost the stream. Throws EINVAL. */
export function lastEventOf(request: Request): LogPlace | undefined {
  const id = request.headers['last-event-id']
  return typeof id === 'string' && id !== '' ? parsePlace(id, 'Last-Event-ID') : undefined
}

/** The byte of a job's output that comes next for the client. Throws EINVAL. */
export function lastByteOf(request: Request): number | undefined {
  const id = request.headers['last-event-id']
  if (typeof id !== 'string' || id === '') return undefined
  if (/^[0-9]{1,15}$/.test(id)) return Number(id)
  throw invalid('Last-Event-ID must be an id of this stream')
}

/** Whether the client has all of a sealed log: it need not come back. */
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

/** The place behind an append. */
function placeBehind({ position, offset, data, seq }: AppendEvent): LogPlace {
  return { position, offset: offset + data.length, seq }
}

/** Appends of a key. `from`: bytes before it are left out; `end`: behind what was there at the beginning. */
export function keyFrames(
  watching: Watching,
  { from, end }: { readonly from: number; readonly end: LogPlace | undefined },
): AsyncGenerator<Uint8Array> {
  const frames = framesOf(watching, end, function* (event) {
    const { index, seq, more } = event
    const skipped = Math.max(0, from - event.offset)
    // All of it is before the place that was asked for.
    if (skipped > 0 && skipped >= event.data.length) return
    const data = dataOf(event.data.subarray(skipped))
    const offset = event.offset + skipped
    const id = formatPlace(placeBehind(event))
    yield { id, json: JSON.stringify({ index, offset, seq, data, ...(more && { more }) }) }
  })
  return streamOf(frames)
}

/** Events of an eventlog; up to the first with the name, where there is one. */
export function eventlogFrames(
  watching: Watching,
  waitEvent: string | undefined,
): AsyncGenerator<Uint8Array> {
  const splitter = new Splitter()
  const frames = framesOf(watching, undefined, function* (append) {
    let last: Event | undefined
    let over = false
    for (const event of splitter.push(append.data)) {
      if (last) yield { json: toNdjson(last).trimEnd() }
      last = event
      over = event.name === waitEvent
      if (over) break
    }
    if (last) yield { id: formatPlace(placeBehind(append)), json: toNdjson(last).trimEnd() }
    if (over) yield { event: 'end', json: '{"reason":"event"}' }
  })
  return streamOf(frames)
}

/** Pieces of a job's output; an id is the byte of the stream behind the piece. */
export function outputFrames(pieces: AsyncIterable<OutputPiece>): AsyncGenerator<Uint8Array> {
  return streamOf(framesOfOutput(pieces))
}

async function* framesOfOutput(pieces: AsyncIterable<OutputPiece>): AsyncGenerator<Frame> {
  for await (const { offset, data } of pieces) {
    const json = JSON.stringify({ offset, data: dataOf(data) })
    yield { id: String(offset + data.length), json }
  }
  yield { event: 'end', json: '{"reason":"eof"}' }
}

/** `json` has no line ends in it. */
type Frame = { readonly id?: string; readonly event?: string; readonly json: string }

/** An `end` is the last frame. */
async function* framesOf(
  watching: Watching,
  end: LogPlace | undefined,
  framesOfAppend: (event: AppendEvent) => Iterable<Frame>,
): AsyncGenerator<Frame> {
  for await (const event of watching) {
    if (event.type === 'append') {
      for (const frame of framesOfAppend(event)) {
        yield frame
        if (frame.event === 'end') return
      }
    } else if (event.type === 'live') {
      // One that got nothing yet would not know where it was.
      const { index, prefix } = event.position ?? {}
      const known = end?.position.index === index && end?.position.prefix === prefix
      yield { event: 'live', ...(known && end && { id: formatPlace(end) }), json: '{}' }
    } else if (event.type === 'end') {
      yield { event: 'end', json: JSON.stringify({ reason: event.reason }) }
    }
  }
}

/** As bytes, with when to come back before them, and behind them why they end early. */
async function* streamOf(frames: AsyncIterable<Frame>): AsyncGenerator<Uint8Array> {
  let begun = false
  try {
    for await (const each of frames) {
      const bytes = frameOf(each)
      yield begun ? bytes : Buffer.concat([Buffer.from(`retry: ${retryMs}\n\n`), bytes])
      begun = true
    }
  } catch (error) {
    // Before the first event it is an answer of its own.
    if (begun)
      yield frameOf({ event: 'failure', json: JSON.stringify(errorBodyOf(toTailraceError(error))) })
    throw error
  }
}

function frameOf({ id, event, json }: Frame): Buffer {
  const name = event === undefined ? '' : `event: ${event}\n`
  const place = id === undefined ? '' : `id: ${id}\n`
  return Buffer.from(`${name}${place}data: ${json}\n\n`)
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** As text where it is text. */
function dataOf(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes)
  } catch {
    return { base64: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64') }
  }
}
