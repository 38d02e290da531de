/** Bodies of requests: read whole up to a bound, streamed, or dropped. See rfc/12, rule 6.
 *  Invariant: after a refusal what is left of a body is read and dropped up to `drainSizeMax`, so
 *  that the connection can be used again; beyond that the connection ends after the answer. */

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { parseJson } from '../base/json.js'
import { TailraceError } from '../error.js'

/** What a body takes of the framework's request and reply: `app.ts`, which has them, drops bodies. */
type Request = { readonly raw: IncomingMessage; readonly headers: IncomingHttpHeaders }
type Reply = { readonly header: (name: 'connection', value: 'close') => unknown }

/** Bytes of a body that is one JSON document. */
export const bodySizeMax = 12 * 1024 * 1024
/** Bytes of a refused body that are read to keep its connection. */
export const drainSizeMax = 64 * 1024 * 1024

/** The whole body. Throws E2BIG, before anything is read where `Content-Length` says so. */
export async function readBody(request: Request, sizeMax: number): Promise<Buffer> {
  const length = contentLengthOf(request)
  if (length !== undefined && length > sizeMax) throw tooBig(sizeMax)
  if (length !== undefined) return readExactly(request, length)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of streamBody(request)) {
    size += chunk.length
    if (size > sizeMax) throw tooBig(sizeMax)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

/** Each chunk can go as soon as it was copied: a body is in memory once. */
async function readExactly(request: Request, length: number): Promise<Buffer> {
  const body = Buffer.allocUnsafe(length)
  let size = 0
  for await (const chunk of streamBody(request)) {
    body.set(chunk, size)
    size += chunk.length
  }
  return size === length ? body : body.subarray(0, size)
}

/** The body as a JSON document; undefined where it is empty. Throws EINVAL, E2BIG. */
export async function readJsonBody(request: Request): Promise<unknown> {
  const bytes = await readBody(request, bodySizeMax)
  if (bytes.length === 0) return undefined
  return parseJson(bytes, 'the body')
}

/** The body as it comes, at the consumer's pace. A consumer that leaves early leaves the rest for
 *  `dropBody`. Throws if the client goes before the end of the body, so that half is never a whole. */
export async function* streamBody(request: Request): AsyncGenerator<Uint8Array, void, undefined> {
  const { raw } = request
  yield* raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
  if (!raw.complete) throw new TailraceError('ECANCELED', 'the client went before the body ended')
}

/** Bytes that the body will have, where the client said so. */
export function contentLengthOf(request: Request): number | undefined {
  const header = request.headers['content-length']
  return header === undefined ? undefined : Number(header)
}

/** Reads and drops what is left of the body, or has the connection closed after the answer. */
export async function dropBody(request: Request, reply: Reply): Promise<void> {
  const { raw } = request
  if (raw.complete && raw.readableEnded) return
  if (contentLengthOf(request) === undefined && !request.headers['transfer-encoding']) return
  let left = drainSizeMax
  if ((contentLengthOf(request) ?? 0) > left) {
    reply.header('connection', 'close')
    return
  }
  try {
    for await (const chunk of streamBody(request)) {
      left -= chunk.length
      if (left >= 0) continue
      reply.header('connection', 'close')
      return
    }
  } catch {
    // The client has gone: there is nobody to answer.
  }
}

function tooBig(sizeMax: number): TailraceError {
  return new TailraceError('E2BIG', `a body here has at most ${sizeMax} bytes; PUT /v1/kv streams`)
}
