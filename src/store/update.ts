/** Reads a value with its stat, and changes a value without losing concurrent changes. Over any
 *  `Kvs`; runs in browsers. See rfc/6. */

import { type Entry, getSizeMax, type Kvs, type ReadScope, type UpdateOptions } from '../api/kvs.js'
import type { CommittedOp, Value } from '../api/transaction.js'
import { callback, checkValue } from '../base/shape.js'
import { isCode, TailraceError } from '../error.js'

/** The number of tries of a change. A try fails if the value was changed meanwhile. */
const updateTriesMax = 1_000

/** Reads a value with its stat. Returns undefined if the key is not there. Throws what `Kvs.get`
 *  throws. */
export async function entryOf(
  kvs: Kvs,
  key: string,
  options?: ReadScope,
): Promise<Entry | undefined> {
  const reading = await kvs.read(key, options)
  if (!reading) return undefined
  const { stat, chunks } = reading
  const size = stat.size - (stat.base?.size ?? 0)
  if (size > getSizeMax) {
    throw new TailraceError('E2BIG', `${key} has ${size} bytes: read it as a stream`)
  }
  const value = new Uint8Array(size)
  let at = 0
  for await (const chunk of chunks) {
    value.set(chunk, at)
    at += chunk.length
  }
  return { value, stat }
}

/** Puts what `change` returns for the present value; undefined puts nothing. Calls `change` again
 *  if the value was changed meanwhile. Throws ECONFLICT after `updateTriesMax` tries, and what
 *  `change` and `Kvs.put` throw. */
export async function update(
  kvs: Kvs,
  key: string,
  change: (value: Uint8Array | undefined) => Value | undefined | Promise<Value | undefined>,
  options: UpdateOptions = {},
): Promise<CommittedOp | undefined> {
  checkValue('a change', change, callback)
  const { namespace, signal } = options
  const scope = { ...(namespace !== undefined && { namespace }), ...(signal && { signal }) }
  for (let tries = 1; ; tries++) {
    const entry = await entryOf(kvs, key, scope)
    const value = await change(entry?.value)
    if (value === undefined) return undefined
    const guard = entry ? { key, ref: entry.stat.ref } : ({ key, absent: true } as const)
    try {
      return await kvs.put(key, value, { ...options, guards: [guard] })
    } catch (error) {
      if (!isCode(error, 'ECONFLICT') || tries === updateTriesMax) throw error
    }
  }
}
