/** Writes zeros over the freed pages of the durable engine's file, so that nothing of deleted blobs
 *  stays in it. Rows of zeros, one page each, take every free page before the file grows; they are
 *  removed again, and the pages are free as before. See rfc/4, rule 28.
 *  Invariant: the table `fill` is empty, except while this runs, or after a crash in its middle. */

import { setImmediate } from 'node:timers/promises'
import { isCode, TailraceError } from '../error.js'
import type { OverwriteOptions } from './engine.js'
import type { Table, Tables, Writes } from './tables.js'
import { stored, type Writer } from './writer.js'

/** The number of pages that one transaction writes. */
const overwriteStep = 32
/** The number of pages that a transaction writes after one that made the file longer. */
const confirmStep = 8
/** The number of rows that one transaction removes. */
const unfillStep = 1_024
/** The number of transactions in a row that must make the file longer: all free pages
 *  were taken then. */
const grownMax = 2
/** The largest number of entries that one transaction rewrites. */
const rewriteStep = 128
/** The number of rows of zeros that the transaction before it writes: more than the pages that a
 *  rewrite changes. */
const rewriteZeros = 192
/** The bytes of entries of which one is rewritten. A page of a table is never less than a quarter
 *  full, so that this reaches each page. */
const rewriteEvery = 512
/** The largest value, in bytes, that is rewritten. Larger ones are on pages of their own. */
const smallMax = 1_900
/** The number of keys that are looked at for one such transaction. */
const keysMax = 1_024
/** The bytes of an entry besides its key and value. */
const entryHead = 10
/** The bytes of a page that a row cannot use: a row then fills its page. */
const pageHead = 24

/** Writes over all freed pages, and returns the number of bytes that it wrote. Each step is a
 *  transaction that others share. A full disk ends it early. Throws ECANCELED, EBUSY, EIO,
 *  ECLOSED. */
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
    // A store that is closed does not wait: the next call removes the rows.
    if (!isCode(signal.reason, 'ECLOSED')) await removeRows(tables, writer)
  }
  return count * tables.pageSize
}

/** Rewrites entries on each page of all tables. */
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

/** Throws ECANCELED if the signal is aborted. */
function assertWanted(signal: AbortSignal): void {
  if (!signal.aborted) return
  throw new TailraceError('ECANCELED', 'the freed pages were not all cleared')
}

/** Rewrites some entries of a table, as they are, and returns the key to go on from. Each of their
 *  pages is then a new one, and the old page with its slack is free. REQUIRES: the transaction
 *  before wrote zeros, since the library reuses its memory for the new pages, slack included. */
async function rewriteSome(
  table: Table,
  after: Buffer,
  writer: Writer,
): Promise<Buffer | undefined> {
  let next: Buffer | undefined
  await submit(writer, (writes) => {
    // A change by another job of the transaction is newer, and rewrites its page itself.
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
    // On a full disk the rows stay: the next call removes them.
    if (!(await submit(writer, remove, { frees: true }))) return
  }
}

/** Runs writes as a job of the writer. Resolves to false where the disk is full: then
 *  nothing was written. */
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
