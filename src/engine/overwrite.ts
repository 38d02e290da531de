/** Freed pages of the durable engine's file are written over with zeros: what was deleted is then
 *  not in the file any more. See rfc/4, rule 28.
 *  Invariant: the table `fill` is empty but while this runs, or after a crash in its middle. Rows
 *  of one page each take every free page before the file grows; they are removed again, and the
 *  pages stay free. */

import { setImmediate } from 'node:timers/promises'
import { isCode, TailraceError } from '../error.js'
import type { OverwriteOptions } from './engine.js'
import type { Table, Tables, Writes } from './tables.js'
import { stored, type Writer } from './writer.js'

/** Pages that one transaction writes; fewer once one made the file longer, which the next may only
 *  confirm. */
export const overwriteStep = 32
const confirmStep = 8
/** Rows that one transaction removes. */
export const unfillStep = 1_024
/** All free pages were taken when so many transactions in a row had to make the file longer. */
export const grownMax = 2
/** Keys that one transaction rewrites, and rows of zeros that the one before writes: more than it
 *  changes pages. */
export const rewriteStep = 128
const rewriteZeros = 192
/** Bytes of entries of which one is rewritten. A page of a table is never less than a quarter full,
 *  so that each has one at least; larger values are on pages of their own. */
const rewriteEvery = 512
const smallMax = 1_900
/** Keys that are looked at for one such transaction. */
const keysMax = 1_024
/** Bytes of an entry besides its key and value. */
const entryHead = 10
/** Bytes of a row on its page besides its value: a page of 4 KiB then holds the row alone. */
const pageHead = 24

/** Gives the bytes that it wrote. Each step is a transaction that others share. A full disk ends it
 *  early: what is free in the file needs no space. Throws ECANCELED, EBUSY, EIO, ECLOSED. */
export async function overwriteFreed(
  tables: Tables,
  writer: Writer,
  { signal, onProgress = () => {} }: OverwriteOptions,
): Promise<number> {
  const zeros = Buffer.alloc(tables.pageSize - pageHead)
  await removeRows(tables, writer) // a crash may have left some
  let count = 0
  try {
    await rewriteTables(tables, writer, zeros, signal)
    count = rewriteZeros
    for (let grown = 0; grown < grownMax; ) {
      const before = tables.pages
      const rows = grown > 0 ? confirmStep : overwriteStep
      const write = (writes: Writes) => {
        for (let row = 0; row < rows; row++) writes.put(tables.fill, rowKey(count++), zeros)
      }
      if (!(await submit(writer, write))) break
      grown = tables.pages - before >= rows / 2 ? grown + 1 : 0
      onProgress(count * tables.pageSize)
      await setImmediate()
      assertWanted(signal)
    }
  } finally {
    // A store that is closed does not wait for it: the rows are removed by the next one that writes
    // over.
    if (!isCode(signal.reason, 'ECLOSED')) await removeRows(tables, writer)
  }
  return count * tables.pageSize
}

async function rewriteTables(
  tables: Tables,
  writer: Writer,
  zeros: Buffer,
  signal: AbortSignal,
): Promise<void> {
  const { blobs, index, roots, namespaces, meta, fill } = tables
  for (const table of [blobs, index, roots, namespaces, meta]) {
    for (let after: Buffer | undefined = firstKey; after; ) {
      await submit(writer, (writes) => {
        for (let row = 0; row < rewriteZeros; row++) writes.put(fill, rowKey(row), zeros)
      })
      after = await rewriteSome(table, after, writer)
      assertWanted(signal)
    }
  }
}

/** Throws ECANCELED. */
function assertWanted(signal: AbortSignal): void {
  if (!signal.aborted) return
  throw new TailraceError('ECANCELED', 'the freed pages were not all cleared')
}

/** Writes some of the entries anew, as they are: each of their pages is then a new one, and what
 *  its slack had is on a freed page. The library keeps the memory of the pages that a transaction
 *  wrote, and uses it for those of the next, slack included: that must have written zeros. Gives
 *  where to go on. */
async function rewriteSome(
  table: Table,
  after: Buffer,
  writer: Writer,
): Promise<Buffer | undefined> {
  let next: Buffer | undefined
  await submit(writer, (writes) => {
    // A change by others in the same transaction is newer, and rewrites its page itself.
    const changed = new Set(
      writes.list.filter((write) => write.table === table).map(({ key }) => hexOf(key)),
    )
    const keys = [...table.keys({ limit: keysMax, ...(after.length > 0 && { start: after }) })]
    next = undefined
    let size = rewriteEvery
    let count = 0
    for (const key of keys) {
      next = Buffer.concat([key, Buffer.of(0)])
      const value = table.get(key)
      const small = value && value.length <= smallMax ? value : undefined
      size += key.length + entryHead + (small?.length ?? 0)
      if (!small || size < rewriteEvery || changed.has(hexOf(key))) continue
      writes.put(table, key, Buffer.from(small))
      size = 0
      if (++count === rewriteStep) break
    }
  })
  return next
}

function hexOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex')
}

async function removeRows(tables: Tables, writer: Writer): Promise<void> {
  for (;;) {
    const keys = [...tables.fill.keys({ limit: unfillStep })]
    if (keys.length === 0) return
    const remove = (writes: Writes) => {
      for (const key of keys) writes.remove(tables.fill, key)
    }
    // On a full disk they are left to the next one that writes over.
    if (!(await submit(writer, remove, { frees: true }))) return
  }
}

/** False where the disk is full: nothing of it was written then. */
async function submit(
  writer: Writer,
  write: (writes: Writes) => void,
  { frees }: { readonly frees: boolean } = { frees: false },
): Promise<boolean> {
  const plan = ({ writes }: { readonly writes: Writes }) => {
    write(writes)
    return () => {}
  }
  try {
    stored(await writer.submit({ names: [], blobs: [], frees, plan }))
    return true
  } catch (error) {
    if (isCode(error, 'ENOSPC')) return false
    throw error
  }
}

const firstKey = Buffer.alloc(0)

function rowKey(row: number): Buffer {
  const key = Buffer.alloc(4)
  key.writeUInt32BE(row)
  return key
}
