/** The open files of segments, for reads. A file that nothing reads may be closed to open another.
 *  Invariant: at most `openFilesMax` files are open, and those with a read under way. A file with a
 *  read under way stays open, even if its segment is removed meanwhile. */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Deferred, deferred } from '../base/deferred.js'
import { readCached } from '../base/posix.js'
import { segmentName } from './segment.js'

/** The number of files that stay open. */
const openFilesMax = 128

type Entry = {
  readonly file: Promise<FileHandle>
  /** The descriptor once the file is open. */
  descriptor: number | undefined
  readers: number
  /** True once no new read may begin: the file closes with its last reader. */
  retired: boolean
  /** Resolves once it is retired and has no reader. */
  readonly ended: Deferred<void>
}

/** The files of one journal. */
export class SegmentFiles {
  readonly #directory: string
  /** The entries by segment, the one that was used last at the end. */
  readonly #entries = new Map<number, Entry>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Calls `read` with the open file of a segment. Throws what node:fs throws (ENOENT where the
   *  segment is not there), and what `read` throws. */
  async reading<T>(segment: number, read: (file: FileHandle) => Promise<T>): Promise<T> {
    const entry = this.#enter(segment)
    try {
      return await read(await entry.file)
    } finally {
      entry.readers--
      if (entry.retired) this.#closeIdle(entry)
      else this.#closeOldest()
    }
  }

  /** Fills `bytes` from a segment if its file is open, and the system has them in its cache. */
  tryRead(segment: number, bytes: Uint8Array, offset: number): boolean {
    const descriptor = this.#entries.get(segment)?.descriptor
    return descriptor !== undefined && readCached(descriptor, bytes, offset)
  }

  /** Lets go of the file of a segment. Resolves once no read that began before is under way. */
  async forget(segment: number): Promise<void> {
    const entry = this.#entries.get(segment)
    if (!entry) return
    this.#entries.delete(segment)
    entry.retired = true
    this.#closeIdle(entry)
    await entry.ended.promise
  }

  /** Closes all files; each with its last reader, for which it does not wait. */
  close(): void {
    for (const segment of [...this.#entries.keys()]) void this.forget(segment) // never rejects
  }

  /** Begins a read. */
  #enter(segment: number): Entry {
    const known = this.#entries.get(segment)
    if (known) {
      known.readers++
      this.#entries.delete(segment)
      this.#entries.set(segment, known)
      return known
    }
    const file = open(join(this.#directory, segmentName(segment)), 'r')
    const entry: Entry = {
      ...{ file, descriptor: undefined, readers: 1, retired: false, ended: deferred() },
    }
    this.#entries.set(segment, entry)
    file.then(
      ({ fd }) => {
        entry.descriptor = fd
      },
      () => {
        // The readers get the error; the next read opens the file again.
        if (this.#entries.get(segment) === entry) this.#entries.delete(segment)
      },
    )
    this.#closeOldest()
    return entry
  }

  /** Closes files that nothing reads while too many are open. */
  #closeOldest(): void {
    if (this.#entries.size <= openFilesMax) return
    for (const [oldest, { readers }] of this.#entries) {
      if (this.#entries.size <= openFilesMax) break
      if (readers === 0) void this.forget(oldest) // never rejects
    }
  }

  #closeIdle(entry: Entry): void {
    if (entry.readers > 0) return
    entry.descriptor = undefined
    entry.ended.resolve()
    entry.file.then((file) => file.close()).catch(() => {}) // nothing was written through it
  }
}
