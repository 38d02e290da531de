/** The requests `GET` and `HEAD` of `/v1/kv/KEY`: the bytes of a key, a part of them, or the
 *  headers alone. See rfc/12, rules 18, 19 and 30.
 *  Invariant: a value of any size is sent without ever being whole in memory. The headers and the
 *  bytes of an answer come from one root. */

import type { Reading, ReadScope, Stat } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import { defined, invalid } from '../base/shape.js'
import { blobSizeMax } from '../blob/blob.js'
import { TailraceError } from '../error.js'
import type { LogPlace } from '../kvs/log-place.js'
import { atOneRoot } from '../store/at-one-root.js'
import type { getKey, headKey } from '../wire/keys.js'
import type { ArgsOf } from '../wire/request.js'
import type { Reply, Request } from './app.js'
import { smallSize } from './backlogs.js'
import type { ServerContext } from './context.js'
import { type Conditions, cacheForever, cacheWithTag, conditionsOf, judgeRead } from './etag.js'
import { follow } from './follow.js'
import type { FrontRequest } from './front-request.js'
import { checkHeartbeat } from './heartbeat.js'
import { contentHeaders } from './page-safety.js'
import { formatPlace, parsePlace, positionHeader } from './place.js'
import { type ByteRange, rangeHolds, rangeOf, refuseRange } from './range.js'
import { sendStream, signalOf } from './stream.js'

const notModified = 304
const partialContent = 206

/** Answers `GET`. Throws EINVAL, ENOENT, ECONFLICT, EOVERWRITTEN, ECOMPACTED, and what a read
 *  throws. */
export async function get(
  context: ServerContext,
  query: ArgsOf<typeof getKey>,
  request: Request,
  reply: Reply,
): Promise<unknown> {
  const { key, namespace = primary, at, minSeq, index, from, to, waitCreate } = query
  const heartbeat = checkHeartbeat(query.heartbeat, query.follow)
  const position =
    query.position === undefined ? undefined : parsePlace(query.position, '?position')
  const part = index !== undefined || from !== undefined || to !== undefined
  if (index !== undefined && (from ?? to) !== undefined) {
    throw invalid('give ?index, or ?from and ?to, not both')
  }
  if (query.follow) {
    if (at !== undefined) throw invalid('?at is one root: it cannot be followed')
    if (to !== undefined) throw invalid('?to ends a read: what is followed has no end yet')
    const conditions = conditionsOf(request)
    const options = { key, namespace, minSeq, index, from, position, waitCreate, heartbeat }
    return follow(context, request, reply, { ...options, conditions })
  }
  if (position && (at ?? index) !== undefined) {
    throw invalid('?position is of the newest root: it goes with neither ?at nor ?index')
  }
  if ((part || position) && request.headers.range !== undefined) {
    throw invalid('give ?index, ?from, ?to and ?position, or a Range, not both')
  }
  const waits = waitCreate || minSeq !== undefined
  const signal = waits ? signalOf(context.activity, reply) : undefined
  if (waitCreate) {
    if (at !== undefined) throw invalid('?at is one root: there is nothing to wait for')
    await created(context, { key, namespace, signal })
  }
  const scope = { namespace, ...defined({ at, minSeq, signal }) }
  const conditions = conditionsOf(request)
  const looked = await atOneRoot(async (): Promise<Ranged> => {
    if (request.headers.range !== undefined) {
      return readRange(context, request, reply, { key, scope, conditions })
    }
    const proven = position && (await proveRead(context, key, { position, from, scope }))
    const asked = proven
      ? { ...proven, ...defined({ signal, to }) }
      : { ...scope, ...defined({ index, from, to }) }
    return { found: await context.store.read(key, asked), ...defined({ from: proven?.from }) }
  })
  if ('answered' in looked) return looked.answered
  const { found, range } = looked
  if (!found) throw missing(key)
  const { stat } = found
  const headers = {
    ...headersOf(stat, at),
    ...(await placeHeader(context, key, rootOf(scope, stat))),
  }
  if (judgeRead(conditions, key, stat).unchanged) {
    await found.chunks[Symbol.asyncIterator]().return?.()
    return reply.code(notModified).headers(headers).send()
  }
  const begin = range?.from ?? looked.from ?? from ?? stat.base?.size ?? 0
  const end = Math.min(range?.to ?? to ?? stat.size, stat.size)
  const left = Math.max(0, end - begin)
  const extent = range ? rangeHeaders(stat, range) : {}
  if (range) reply.code(partialContent)
  if (index === undefined && left > blobSizeMax) {
    await sendStream(reply, {
      headers: async () => ({ ...headers, ...extent, 'content-length': String(left) }),
      pieces: found.chunks,
      release: context.store.release,
      signal: signal ?? signalOf(context.activity, reply),
      log: context.log,
      pace: context.pace,
    })
    return reply
  }
  if (left > smallSize) await (request.raw as FrontRequest).backlog?.room(left)
  const bytes = await joined(found.chunks)
  return reply.headers({ ...headers, ...extent }).send(bytes)
}

type Ranged =
  | { readonly answered: Reply }
  | {
      readonly found: Reading | undefined
      readonly range?: ByteRange | undefined
      /** The first byte, if a position was given. */
      readonly from?: number | undefined
    }

/** Checks a position. Returns the root to read at, and the byte to read on from. Throws
 *  EOVERWRITTEN, ECOMPACTED, ENOENT. */
async function proveRead(
  { store }: ServerContext,
  key: string,
  asked: {
    readonly position: LogPlace
    readonly from: number | undefined
    readonly scope: ReadScope
  },
): Promise<{ readonly namespace: string; readonly at: number; readonly from: number }> {
  const { position, scope } = asked
  const { namespace = primary, minSeq, signal } = scope
  if (minSeq !== undefined) await store.root({ namespace, waitSeq: minSeq, ...defined({ signal }) })
  const from = asked.from ?? position.offset
  const { end } = await store.places.check(key, position, from, { namespace })
  return { namespace, at: end.seq, from }
}

/** Returns the root that a value was read at. */
function rootOf({ namespace, at }: ReadScope, { seq }: Stat) {
  return { ...defined({ namespace }), at: at ?? seq }
}

/** Returns the header with the place behind all bytes of a key at a root. Returns no header if the
 *  place cannot be read any more. */
export async function placeHeader(
  { store }: ServerContext,
  key: string,
  scope: { readonly namespace?: string; readonly at: number | string },
): Promise<Readonly<Record<string, string>>> {
  const place = await store.places.end(key, scope).catch(() => undefined)
  return place ? { [positionHeader]: formatPlace(place) } : {}
}

/** Reads a range. A range depends on the size, so it looks the key up first, and then reads at the
 *  same root. */
async function readRange(
  context: ServerContext,
  request: Request,
  reply: Reply,
  asked: {
    readonly key: string
    readonly scope: ReadScope
    readonly conditions: Conditions
  },
): Promise<Ranged> {
  const { key, scope, conditions } = asked
  const stat = await context.store.stat(key, scope)
  if (!stat) throw missing(key)
  if (stat.type === 'dir') throw new TailraceError('EISDIR', `"${key}" is a directory: list it`)
  // Conditions come before the range (RFC 9110, 13.2.2): a 304 has no range.
  if (judgeRead(conditions, key, stat).unchanged) {
    return { answered: reply.code(notModified).headers(headersOf(stat, scope.at)).send() }
  }
  const ifRange = request.headers['if-range']
  const wanted = rangeHolds(typeof ifRange === 'string' ? ifRange : undefined, stat.ref)
    ? rangeOf(request.headers.range, sizeLeft(stat))
    : undefined
  if (wanted === 'unsatisfiable') return { answered: refuseRange(reply, sizeLeft(stat)) }
  const base = stat.base?.size ?? 0
  const range = wanted && { from: base + wanted.from, to: base + wanted.to }
  const { minSeq: _, ...there } = scope
  const at = scope.at ?? stat.seq
  return { found: await context.store.read(key, { ...there, at, ...defined({ ...range }) }), range }
}

/** Answers `HEAD`. Throws EINVAL, ENOENT, EISDIR, ECONFLICT, EOVERWRITTEN, ECOMPACTED. */
export async function head(
  context: ServerContext,
  query: ArgsOf<typeof headKey>,
  request: Request,
  reply: Reply,
): Promise<Reply> {
  const { key, namespace = primary, at, minSeq, from } = query
  const signal = minSeq === undefined ? undefined : signalOf(context.activity, reply)
  let scope: ReadScope = { namespace, ...defined({ at, minSeq, signal }) }
  if (query.position === undefined) {
    if (from !== undefined) throw invalid('?from goes with ?position here')
  } else {
    if (at !== undefined) throw invalid('?position is of the newest root: it goes without ?at')
    const position = parsePlace(query.position, '?position')
    const { at: root } = await proveRead(context, key, { position, from, scope })
    scope = { namespace, at: root }
  }
  const stat = await context.store.stat(key, scope)
  if (!stat) throw missing(key)
  if (stat.type === 'dir') throw new TailraceError('EISDIR', `"${key}" is a directory: list it`)
  reply.headers({
    ...headersOf(stat, at),
    ...(await placeHeader(context, key, rootOf(scope, stat))),
  })
  if (judgeRead(conditionsOf(request), key, stat).unchanged) return reply.code(notModified).send()
  return reply.header('content-length', String(sizeLeft(stat))).send()
}

/** Returns the number of bytes that a read of the whole key gives: a trimmed log has lost its first
 *  bytes. */
function sizeLeft({ size, base }: Stat): number {
  return size - (base?.size ?? 0)
}

function rangeHeaders(stat: Stat, range: ByteRange): Record<string, string> {
  const base = stat.base?.size ?? 0
  const [first, last] = [range.from - base, range.to - base - 1]
  return { 'content-range': `bytes ${first}-${last}/${sizeLeft(stat)}` }
}

/** Resolves once the key is there. Throws what a watch throws. */
export async function created(
  context: ServerContext,
  where: {
    readonly key: string
    readonly namespace: string
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  const { key, namespace, signal } = where
  const options = { mode: 'value', namespace, waitCreate: true, ...defined({ signal }) } as const
  for await (const _ of context.store.watch(key, options)) return
}

/** Returns the headers of a value. `at` is the root that the client asked for. */
function headersOf(stat: Stat, at: number | string | undefined): Record<string, string> {
  return {
    // A seq can belong to another root in the next incarnation of the namespace. A ref cannot.
    'cache-control': typeof at === 'string' ? cacheForever : cacheWithTag,
    etag: `"${stat.ref}"`,
    'tailrace-seq': String(stat.seq),
    'tailrace-count': String(stat.count),
    'tailrace-stat': JSON.stringify(stat),
    ...contentHeaders(stat.attrs?.contentType),
    'accept-ranges': 'bytes',
  }
}

/** Returns ENOENT for a key. */
export function missing(key: string): TailraceError {
  return new TailraceError('ENOENT', `there is no "${key}"`)
}

async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const chunk of chunks) pieces.push(chunk)
  const [first] = pieces
  return pieces.length === 1 && first ? bufferOf(first) : Buffer.concat(pieces)
}

/** Returns a view of the bytes, not a copy. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
