/** LMDB's data file as bytes, read without LMDB, which ends the process (SIGBUS) where a page that
 *  it needs lies behind the end of the file. See rfc/4.
 *  Invariant: reads only. Source: the structures of `mdb.c` (data version 2). */

import type { FileHandle } from 'node:fs/promises'

const magic = 0xbeefc0de
const pageHeaderSize = 24
/** In a page's header: its flags, and the bytes of the pointers to its entries that follow the
 *  header. */
const [flagsAt, pointersSizeAt] = [18, 20]
/** Offsets in a meta page, from the file's or the page's beginning. */
const [magicAt, metaPageSizeAt, freeRootAt, mainRootAt, lastPageAt, transactionAt] = [
  24, 48, 88, 136, 144, 152,
]
/** Offset in an entry that describes a table, from its beginning. */
const tableRootAt = 40
/** Flags of pages and of entries on a leaf. */
const [branch, leaf] = [1, 2]
const [bigData, subData] = [1, 2]
const noPage = 0xffff_ffff_ffff_ffffn
const pageSizeMax = 65_536

export type Meta = {
  readonly pageSize: number
  readonly transaction: bigint
  /** Root pages of the table of free pages and of the main table. */
  readonly roots: readonly [bigint, bigint]
  /** The last page that was ever given out. */
  readonly lastPage: bigint
}

/** The first sector of a meta page. */
export function isMeta(head: Buffer): boolean {
  return head.readUInt32LE(magicAt) === magic
}

/** The meta page that LMDB goes by, of the heads of both. */
export function newestMeta(heads: readonly Buffer[]): Meta | undefined {
  const metas = heads.map(parseMeta).filter((meta) => meta !== undefined)
  return metas.sort((a, b) => (a.transaction < b.transaction ? 1 : -1))[0]
}

function parseMeta(head: Buffer): Meta | undefined {
  if (!isMeta(head)) return undefined
  const pageSize = head.readUInt32LE(metaPageSizeAt)
  if (pageSize < 512 || pageSize > pageSizeMax || (pageSize & (pageSize - 1)) !== 0)
    return undefined
  return {
    pageSize,
    transaction: head.readBigUInt64LE(transactionAt),
    roots: [head.readBigUInt64LE(freeRootAt), head.readBigUInt64LE(mainRootAt)],
    lastPage: head.readBigUInt64LE(lastPageAt),
  }
}

/** Whether all pages that are in use lie within the file. A file that has all that were ever given
 *  out is whole at once; a shorter one is walked, since pages that were given back before they were
 *  written may be missing at its end. */
export async function hasAllPages(file: FileHandle, meta: Meta): Promise<boolean> {
  const { size } = await file.stat()
  const pages = BigInt(Math.floor(size / meta.pageSize))
  if (meta.lastPage < pages) return true
  const walk = new Walk(file, meta.pageSize, pages)
  for (const root of meta.roots) if (!(await walk.isWithin(root))) return false
  return true
}

class Walk {
  readonly #file: FileHandle
  readonly #pageSize: number
  /** Number of pages in the file. */
  readonly #pages: bigint

  constructor(file: FileHandle, pageSize: number, pages: bigint) {
    this.#file = file
    this.#pageSize = pageSize
    this.#pages = pages
  }

  /** A tree, with the trees that its entries are. Memory: the pages still to be looked at. */
  async isWithin(root: bigint): Promise<boolean> {
    const waiting = [root]
    // Each page has one above it: more than there are is a circle.
    for (let seen = 0n; ; seen++) {
      const page = waiting.pop()
      if (page === undefined) return true
      if (page === noPage) continue
      if (page >= this.#pages || seen > this.#pages) return false
      const bytes = Buffer.alloc(this.#pageSize)
      await this.#file.read(bytes, 0, this.#pageSize, Number(page) * this.#pageSize)
      const below = this.#pagesBelow(bytes)
      if (!below) return false
      for (const child of below) waiting.push(child)
    }
  }

  /** The roots of the trees below a page; undefined where it is none, or its values lie behind the
   *  end. */
  #pagesBelow(page: Buffer): bigint[] | undefined {
    const flags = page.readUInt16LE(flagsAt)
    const pointersEnd = pageHeaderSize + page.readUInt16LE(pointersSizeAt)
    if ((flags & (branch | leaf)) === 0 || pointersEnd > page.length) return undefined
    const below: bigint[] = []
    for (let at = pageHeaderSize; at < pointersEnd; at += 2) {
      const entry = pageHeaderSize + page.readUInt16LE(at)
      if (entry + 8 > page.length) return undefined
      const [low, high, entryFlags, keySize] = [0, 2, 4, 6].map((offset) =>
        page.readUInt16LE(entry + offset),
      ) as [number, number, number, number]
      if ((flags & branch) !== 0) {
        below.push(BigInt(low) + (BigInt(high) << 16n) + (BigInt(entryFlags) << 32n))
        continue
      }
      const value = entry + 8 + keySize
      if ((entryFlags & bigData) !== 0) {
        if (value + 8 > page.length) return undefined
        const size = pageHeaderSize + low + high * 65_536
        const end = page.readBigUInt64LE(value) + BigInt(Math.ceil(size / this.#pageSize))
        if (end > this.#pages) return undefined
      } else if ((entryFlags & subData) !== 0) {
        if (value + tableRootAt + 8 > page.length) return undefined
        below.push(page.readBigUInt64LE(value + tableRootAt))
      }
    }
    return below
  }
}
