/** The bytes of one stream of an output log, from any offset of that stream. See rfc/8.
 *  Invariant: bytes come in order, each once; what stands before the offset is not read but for a
 *  binary search over blobs. Runs in browsers, over any `Kvs`. */

import { TailraceError } from '../error.js'
import type { Kvs } from '../kvs/kvs.js'
import { compacted } from '../transaction/floor.js'
import type { Scope } from '../transaction/operation.js'
import { baseNone } from '../tree/treeobj.js'
import { decodeOutput, type Offsets, type Stream } from './stdio.js'

export type ReadStreamOptions = Scope & {
  /** Byte of the stream to begin with; default the first that is there. One past the end gives nothing (with `follow`:
   *  waits until the stream is there or has ended). */
  readonly from?: number
  /** Go on until the stream has ended. Otherwise until all that is there was read. */
  readonly follow?: boolean
}

/** The stream's bytes as they stand in the log at `key`, piece by piece. Throws EINVAL, ENOENT,
 *  ECORRUPT (not an output log) and what a watch ends with. Leaving the loop cancels. */
export async function* readOutput(
  kvs: Kvs,
  key: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { from, follow = false, ...scope } = options ?? {}
  const first = from ?? 0
  if (!Number.isSafeInteger(first) || first < 0) {
    throw new TailraceError(
      'EINVAL',
      'the offset of a stream is a whole number of bytes, 0 or more',
    )
  }
  const index = first === 0 ? from : await blobOf(kvs, key, stream, first, scope)
  const start = index === undefined ? {} : { from: index }
  for await (const append of kvs.watch(key, { mode: 'append', ...start, ...scope })) {
    if (append.type === 'live' && !follow) return
    if (append.type !== 'append') continue
    for (const event of decodeOutput(append.data)) {
      if (event.type === 'header' || event.stream !== stream) continue
      if (event.type === 'eof') return
      const skip = Math.max(0, first - event.offsets[stream])
      if (skip < event.data.length) yield event.data.subarray(skip)
    }
  }
}

/** The stream of a job, by the job's id. See `readOutput`. */
export function readStream(
  kvs: Kvs,
  id: string,
  stream: Stream,
  options?: ReadStreamOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  return readOutput(kvs, `${id}/output`, stream, { namespace: 'jobs', ...options })
}

/** The last blob at whose beginning the stream stands at or before `offset`. Throws ECOMPACTED where a
 *  trim dropped it. */
async function blobOf(
  kvs: Kvs,
  key: string,
  stream: Stream,
  offset: number,
  scope: Scope,
): Promise<number> {
  const stat = await kvs.stat(key, scope)
  if (!stat) throw new TailraceError('ENOENT', `there is no output ${JSON.stringify(key)}`)
  const { base = baseNone } = stat
  let low = base.count
  let high = stat.count
  if (low > 0 && low < high && (await offsetsAt(kvs, key, low, scope))[stream] > offset) {
    throw compacted(`byte ${offset} of ${stream}`, base)
  }
  // Blob `low` begins at or before the offset, blob `high` after it or not there. Blobs of an append
  // key never change, so that each step may read its own root.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    const offsets = await offsetsAt(kvs, key, middle, scope)
    if (offsets[stream] <= offset) low = middle
    else high = middle
  }
  return low
}

/** Where each stream stands at the beginning of a blob. */
async function offsetsAt(kvs: Kvs, key: string, index: number, scope: Scope): Promise<Offsets> {
  const [first] = decodeOutput(await readBlob(kvs, key, index, scope))
  return first && first.type !== 'header' ? first.offsets : { stdout: 0, stderr: 0 }
}

/** Where each stream stands after the last of `count` blobs. Throws as `readOutput`. */
export async function endOfOutput(
  kvs: Kvs,
  key: string,
  count: number,
  scope: Scope,
): Promise<Offsets> {
  let offsets: Offsets = { stdout: 0, stderr: 0 }
  if (count === 0) return offsets
  for (const event of decodeOutput(await readBlob(kvs, key, count - 1, scope))) {
    if (event.type === 'header') continue
    const size = event.type === 'data' ? event.data.length : 0
    offsets = { ...event.offsets, [event.stream]: event.offsets[event.stream] + size }
  }
  return offsets
}

async function readBlob(kvs: Kvs, key: string, index: number, scope: Scope): Promise<Uint8Array> {
  const reading = await kvs.read(key, { ...scope, index })
  if (!reading) throw new TailraceError('ENOENT', `there is no output ${JSON.stringify(key)}`)
  const chunks: Uint8Array[] = []
  for await (const chunk of reading.chunks) chunks.push(chunk)
  const [only] = chunks
  if (chunks.length === 1 && only) return only
  const blob = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    blob.set(chunk, at)
    at += chunk.length
  }
  return blob
}
