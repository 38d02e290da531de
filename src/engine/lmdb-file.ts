/** The bytes of LMDB's data file, without LMDB, which ends the process where it cannot write the first
 *  of them, and where a page that it needs lies behind the end of the file. See rfc/4, rule 23.
 *  Invariant: nothing is written. Source: the structures of `mdb.c` (data version 2). */

import type { FileHandle } from 'node:fs/promises'

const magic = 0xbeefc0de
const dataVersion = 2
/** The size of a page in the files that are made here, whatever the machine's is. */
export const pageSize = 4_096
const pageHeaderSize = 24
/** The offsets of two fields in a page's header: its flags, and the bytes of the pointers to
 *  entries that follow the header. */
const [flagsAt, pointersSizeAt] = [18, 20]
/** The offsets of fields in a meta page, from the beginning of the page. */
const [magicAt, metaPageSizeAt, freeRootAt, mainRootAt, lastPageAt, transactionAt] = [
  24, 48, 88, 136, 144, 152,
]
/** The offsets of fields in a meta page that only a new file needs. */
const [versionAt, mapSizeAt, freeFlagsAt] = [28, 40, 52]
/** The offset of the root page in a value that describes a table. */
const tableRootAt = 40
/** The flags of pages. */
const [branch, leaf, metaPage] = [1, 2, 8]
/** The flag of the table of free pages: its keys are integers. */
const integerKeys = 8
/** The size of the map of a new file, in bytes. */
const mapSize = 128 * 1024
/** The flags of entries on a leaf. */
const [bigData, subData] = [1, 2]
const noPage = 0xffff_ffff_ffff_ffffn
const pageSizeMax = 65_536

/** The fields of a meta page. */
type Meta = {
  readonly pageSize: number
  readonly transaction: bigint
  /** The root pages of the table of free pages and of the main table. */
  readonly roots: readonly [bigint, bigint]
  /** The last page that was ever in use. */
  readonly lastPage: bigint
}

/** Returns the two meta pages with which LMDB begins a file that has nothing. */
export function emptyFile(): Buffer {
  const pages = Buffer.alloc(2 * pageSize)
  for (const number of [0, 1]) {
    const page = pages.subarray(number * pageSize)
    page.writeBigUInt64LE(BigInt(number))
    page.writeUInt16LE(metaPage, flagsAt)
    page.writeUInt32LE(magic, magicAt)
    page.writeUInt32LE(dataVersion, versionAt)
    page.writeBigUInt64LE(BigInt(mapSize), mapSizeAt)
    page.writeUInt32LE(pageSize, metaPageSizeAt)
    page.writeUInt16LE(integerKeys, freeFlagsAt)
    for (const root of [freeRootAt, mainRootAt]) page.writeBigUInt64LE(noPage, root)
    page.writeBigUInt64LE(1n, lastPageAt)
  }
  return pages
}

/** Returns true if the first sector of a page is that of a meta page. */
export function isMeta(head: Buffer): boolean {
  return head.readUInt32LE(magicAt) === magic
}

/** Returns the newer of the two meta pages, which LMDB uses. Undefined where neither is valid. */
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

/** Resolves to true if all pages that are in use lie within the file. A file with all pages that
 *  were ever in use is whole. A shorter one is walked, since pages that were freed before they were
 *  written may be missing at its end. */
export async function hasAllPages(file: FileHandle, meta: Meta): Promise<boolean> {
  const { size } = await file.stat()
  const pages = BigInt(Math.floor(size / meta.pageSize))
  if (meta.lastPage < pages) return true
  const walk = new Walk(file, meta.pageSize, pages)
  for (const root of meta.roots) if (!(await walk.isWithin(root))) return false
  return true
}

/** Walks the trees of a data file. */
class Walk {
  readonly #file: FileHandle
  readonly #pageSize: number
  /** The number of pages in the file. */
  readonly #pages: bigint

  constructor(file: FileHandle, pageSize: number, pages: bigint) {
    this.#file = file
    this.#pageSize = pageSize
    this.#pages = pages
  }

  /** Resolves to true if all pages of a tree, and of the trees in its entries, lie within the file.
   *  Memory: the numbers of the pages still to be looked at. */
  async isWithin(root: bigint): Promise<boolean> {
    const waiting = [root]
    // Each page has one page above it. So a walk of more pages than the file has is in a circle.
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

  /** Lists the pages below a page. Undefined where it is no page of a tree, or where a value of it
   *  lies behind the end of the file. */
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
