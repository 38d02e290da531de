/** Bodies of requests: read whole up to a bound, or streamed. See rfc/12, rules 6, 25, 26 and 32.
 *  Invariant: a body that is cut, that stalls or that does not match its checksum is an error. It
 *  is never taken for the whole body. */

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { deferred } from '../base/deferred.js'
import { parseLongJson } from '../base/long-json.js'
import { TailraceError } from '../error.js'
import type { BodyShare } from './body-budget.js'
import { BodyDigest } from './digest.js'

/** The part of a request that its body is read from. `FrontRequest` describes `bodyStallMs` and
 *  `bodyShare`. */
type Request = {
  readonly raw: IncomingMessage & {
    readonly bodyStallMs?: number | undefined
    readonly bodyShare?: BodyShare
  }
  readonly headers: IncomingHttpHeaders
}

/** The largest body that is one JSON document, in bytes. */
export const bodySizeMax = 12 * 1024 * 1024
/** The largest part of a streamed body that is in memory, in bytes: two small batches of blobs, and
 *  the blob that is being filled. */
const uploadHeldMax = 1024 * 1024
/** The time without a new byte after which a body over TCP is given up, in ms. */
export const bodyStallMs = 60_000
/** The time without a new byte after which a body over the Unix socket is given up, in ms. It is
 *  longer than `bodyStallMs`: a local peer cannot vanish, and a slow program may be writing. */
export const localBodyStallMs = 15 * 60_000

/** Reads the whole body. Throws E2BIG above `sizeMax` bytes (before it reads, if `Content-Length`
 *  says so), EBUSY if the bodies of the server have no memory left, and what `streamBody`
 *  throws. */
export async function readBody(request: Request, sizeMax: number): Promise<Buffer> {
  const length = contentLengthOf(request)
  if (length !== undefined && length > sizeMax) throw tooBig(sizeMax)
  try {
    return await (length === undefined ? readUpTo(request, sizeMax) : readExactly(request, length))
  } catch (error) {
    // The part that was read is dropped now, since the refusal may take some time.
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
    await share?.addSoon(chunk.length)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

/** Copies each chunk into one buffer at once, so that the body is in memory only once. */
async function readExactly(request: Request, length: number): Promise<Buffer> {
  const share = request.raw.bodyShare
  const body = Buffer.allocUnsafe(length) // the system gives memory only to pages that are written
  let size = 0
  for await (const chunk of streamBody(request)) {
    await share?.addSoon(chunk.length)
    body.set(chunk, size)
    size += chunk.length
  }
  return size === length ? body : body.subarray(0, size)
}

/** Reads the body as a JSON document; an empty body is `{}`. Throws EINVAL, E2BIG, ECANCELED (the client
 *  went while a long one was parsed), and what `readBody` throws. */
export async function readJsonBody(request: Request): Promise<unknown> {
  const bytes = await readBody(request, bodySizeMax)
  if (bytes.length === 0) return {}
  return parseLongJson(bytes, 'the body', () => request.raw.socket.destroyed)
}

/** Returns the memory of a request's body; undefined if it has no bound. */
export function bodyShareOf({ raw }: Request): BodyShare | undefined {
  return raw.bodyShare
}

/** Streams a body of any size to a store that holds a part of it in memory. Throws EBUSY, and what
 *  `streamBody` throws. */
export async function* streamHeldBody(
  request: Request,
): AsyncGenerator<Uint8Array, void, undefined> {
  const share = request.raw.bodyShare
  for await (const chunk of streamBody(request)) {
    await share?.addSoon(chunk.length, uploadHeldMax)
    yield chunk
  }
}

/** Streams the body at the consumer's pace. If the consumer leaves early, the refusal that follows
 *  drops the rest. A body that `mayStall` may pause for any time. Throws ECANCELED if the client
 *  goes before the end of the body, ETIMEDOUT if the body stalls, EINVAL if it does not match its
 *  checksum. */
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
    // A stalled iterator still waits for a chunk, and its `return` would wait for it, too.
    if (!stalled) await chunks.return?.()
  }
  if (stalled) {
    const message = `nothing came of the body for ${stallMs} ms, or others needed its memory: nothing was done`
    throw new TailraceError('ETIMEDOUT', message)
  }
  if (!raw.complete) throw new TailraceError('ECANCELED', 'the client went before the body ended')
  digest?.check()
}

/** Resolves with the next chunk. Undefined if none came within `ms`, or if the budget has taken the
 *  memory away. */
async function nextWithin<T>(
  chunks: AsyncIterator<T>,
  ms: number,
  share: BodyShare | undefined,
): Promise<IteratorResult<T> | undefined> {
  const late = deferred<undefined>()
  const timer = setTimeout(() => late.resolve(undefined), ms)
  share?.whileWaiting(() => late.resolve(undefined))
  const next = chunks.next()
  // It may reject after it was given up, when nobody awaits it.
  next.catch(() => {})
  try {
    return await Promise.race([next, late.promise])
  } finally {
    clearTimeout(timer)
    share?.whileWaiting(undefined)
  }
}

/** Returns the size of the body in bytes, if the client has sent it. */
export function contentLengthOf(request: Request): number | undefined {
  const header = request.headers['content-length']
  return header === undefined ? undefined : Number(header)
}

function tooBig(sizeMax: number): TailraceError {
  return new TailraceError('E2BIG', `a body here has at most ${sizeMax} bytes; PUT /v1/kv streams`)
}
