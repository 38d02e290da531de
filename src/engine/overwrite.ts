/** Freed pages of the durable engine's file are written over with zeros: what was deleted is then not in the
 *  file any more. See rfc/4, rule 28.
 *  Invariant: the table `fill` is empty but while this runs, or after a crash in its middle. Rows of one page
 *  each take every free page before the file grows; they are removed again, and the pages stay free. */

import { setImmediate } from 'node:timers/promises'
import { isCode, TailraceError } from '../error.js'
import type { OverwriteOptions } from './engine.js'
import type { Tables, Writes } from './tables.js'
import { stored, type Writer } from './writer.js'

/** Pages that one transaction writes. */
export const overwriteStep = 64
/** Rows that one transaction removes. */
export const unfillStep = 1_024
/** All free pages were taken when so many transactions in a row had to make the file longer. */
export const grownMax = 2
/** What one row has besides its value on its page: a page of 4 KiB then holds the row alone. */
const pageHead = 24

/** Gives the bytes that it wrote. Each step is a transaction that others share. A full disk ends it early: what
 *  is free in the file needs no space. Throws ECANCELED, EBUSY, EIO, ECLOSED. */
export async function overwriteFreed(
  tables: Tables,
  writer: Writer,
  { signal, onProgress = () => {} }: OverwriteOptions,
): Promise<number> {
  const zeros = Buffer.alloc(tables.pageSize - pageHead)
  await removeRows(tables, writer) // a crash may have left some
  let count = 0
  try {
    for (let grown = 0; grown < grownMax; ) {
      const before = tables.pages
      const write = (writes: Writes) => {
        for (let row = 0; row < overwriteStep; row++)
          writes.put(tables.fill, rowKey(count++), zeros)
      }
      if (!(await submit(writer, write))) break
      grown = tables.pages - before >= overwriteStep / 2 ? grown + 1 : 0
      onProgress(count * tables.pageSize)
      await setImmediate()
      if (signal.aborted)
        throw new TailraceError('ECANCELED', 'the freed pages were not all cleared')
    }
  } finally {
    // A store that is closed does not wait for it: the rows are removed by the next one that writes over.
    if (!isCode(signal.reason, 'ECLOSED')) await removeRows(tables, writer)
  }
  return count * tables.pageSize
}

async function removeRows(tables: Tables, writer: Writer): Promise<void> {
  for (;;) {
    const keys = [...tables.fill.keys({ limit: unfillStep })]
    if (keys.length === 0) return
    await submit(writer, (writes) => {
      for (const key of keys) writes.remove(tables.fill, key)
    })
  }
}

/** False where the disk is full: nothing of it was written then. */
async function submit(writer: Writer, write: (writes: Writes) => void): Promise<boolean> {
  const plan = ({ writes }: { readonly writes: Writes }) => {
    write(writes)
    return () => {}
  }
  try {
    stored(await writer.submit({ names: [], blobs: [], plan }))
    return true
  } catch (error) {
    if (isCode(error, 'ENOSPC')) return false
    throw error
  }
}

function rowKey(row: number): Buffer {
  const key = Buffer.alloc(4)
  key.writeUInt32BE(row)
  return key
}
