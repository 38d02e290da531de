/** Bodies of requests: read whole up to a bound, or streamed. See rfc/12, rules 6, 25 and 26.
 *  Invariant: half a body, one that stands still, or one that is not what its checksum says is an
 *  error, and never taken for the whole. */

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { deferred } from '../base/deferred.js'
import { parseLongJson } from '../base/long-json.js'
import { TailraceError } from '../error.js'
import { type BodyShare, evictedMs } from './body-budget.js'
import { BodyDigest } from './digest.js'

/** The part of a request that its body is read from. `bodyStallMs`, `bodyShare`: see the front. */
type Request = {
  readonly raw: IncomingMessage & {
    readonly bodyStallMs?: number | undefined
    readonly bodyShare?: BodyShare
  }
  readonly headers: IncomingHttpHeaders
}

/** Bytes of a body that is one JSON document. */
export const bodySizeMax = 12 * 1024 * 1024
/** A stream of any length has at most so many bytes in memory when it stands still: an upload beside many others holds
 *  two small batches, and the blob that fills. */
const uploadHeldMax = 1024 * 1024
/** A body over TCP that stands still for so long is given up. */
export const bodyStallMs = 60_000
/** Like `bodyStallMs`, over the Unix socket: a peer cannot vanish, but a slow program may be writing. */
export const localBodyStallMs = 15 * 60_000

/** The whole body. Throws E2BIG, before anything is read where `Content-Length` says so; EBUSY where the bodies that
 *  are on their way fill the memory that they may have together. */
export async function readBody(request: Request, sizeMax: number): Promise<Buffer> {
  const length = contentLengthOf(request)
  if (length !== undefined && length > sizeMax) throw tooBig(sizeMax)
  try {
    return await (length === undefined ? readUpTo(request, sizeMax) : readExactly(request, length))
  } catch (error) {
    // What came is dropped; the refusal may take its time.
    request.raw.bodyShare?.[Symbol.dispose]()
    throw error
  }
}

async function readUpTo(request: Request, sizeMax: number): Promise<Buffer> {
  const share = request.raw.bodyShare
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of streamBody(request)) {
    size += chunk.length
    if (size > sizeMax) throw tooBig(sizeMax)
    share?.add(chunk.length)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

/** Each chunk can go as soon as it was copied: a body is in memory once. */
async function readExactly(request: Request, length: number): Promise<Buffer> {
  const share = request.raw.bodyShare
  const body = Buffer.allocUnsafe(length) // takes memory as it is written to
  let size = 0
  for await (const chunk of streamBody(request)) {
    share?.add(chunk.length)
    body.set(chunk, size)
    size += chunk.length
  }
  return size === length ? body : body.subarray(0, size)
}

/** The body as a JSON document; `{}` where it is left out. Throws EINVAL, E2BIG. */
export async function readJsonBody(request: Request): Promise<unknown> {
  const bytes = await readBody(request, bodySizeMax)
  if (bytes.length === 0) return {}
  return parseLongJson(bytes, 'the body')
}

/** The body of any size as it comes, for a store that holds a part of it. Throws as `streamBody`; EBUSY. */
export async function* streamHeldBody(
  request: Request,
): AsyncGenerator<Uint8Array, void, undefined> {
  const share = request.raw.bodyShare
  for await (const chunk of streamBody(request)) {
    share?.addHeld(chunk.length, uploadHeldMax)
    yield chunk
  }
}

/** The body as it comes, at the consumer's pace. A consumer that leaves early leaves the rest to the
 *  refusal that follows. `mayStall`: it may stand still for any time. Throws ECANCELED where the client
 *  goes before the end of the body, ETIMEDOUT where nothing comes, EINVAL where the checksum is another,
 *  so that half is never a whole. */
export async function* streamBody(
  request: Request,
  { mayStall = false } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { raw, headers } = request
  const digest = BodyDigest.of(headers)
  const chunks: AsyncIterator<Uint8Array> = raw.iterator({ destroyOnReturn: false })
  const stallMs = mayStall ? undefined : raw.bodyStallMs
  const share = mayStall ? undefined : raw.bodyShare
  const next =
    stallMs === undefined ? () => chunks.next() : () => nextWithin(chunks, stallMs, share)
  let stalled = false
  try {
    for (;;) {
      const chunk = await next()
      stalled = chunk === undefined
      if (stalled) break
      if (!chunk || chunk.done) break
      digest?.update(chunk.value)
      yield chunk.value
    }
  } finally {
    // One that still waits for a chunk would wait with it.
    if (!stalled) await chunks.return?.()
  }
  if (stalled) {
    const message = `nothing came of the body for ${stallMs} ms, or for ${evictedMs} ms while others needed its memory: nothing was done`
    throw new TailraceError('ETIMEDOUT', message)
  }
  if (!raw.complete) throw new TailraceError('ECANCELED', 'the client went before the body ended')
  digest?.check()
}

/** Gives undefined where nothing came within the time, or the budget has taken the share back. */
async function nextWithin<T>(
  chunks: AsyncIterator<T>,
  ms: number,
  share: BodyShare | undefined,
): Promise<IteratorResult<T> | undefined> {
  const late = deferred<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), ms)
  share?.whileWaiting(() => late.resolve(undefined))
  const next = chunks.next()
  // It may fail after it was given up.
  next.catch(() => {})
  try {
    return await Promise.race([next, late.promise])
  } finally {
    clearTimeout(timer)
    share?.whileWaiting(undefined)
  }
}

/** Bytes that the body will have, where the client said so. */
export function contentLengthOf(request: Request): number | undefined {
  const header = request.headers['content-length']
  return header === undefined ? undefined : Number(header)
}

function tooBig(sizeMax: number): TailraceError {
  return new TailraceError('E2BIG', `a body here has at most ${sizeMax} bytes; PUT /v1/kv streams`)
}
