/** The reserve: a file of random bytes that is cut on a full disk, so that transactions which free
 *  space have some: a record that drops blobs takes space itself, and so do the tables. See rfc/4,
 *  rule 31.
 *  Invariant: the file is shorter than `reserveSize` only if a part was given to such transactions,
 *  or the disk had no room for it. */

import { randomFillSync } from 'node:crypto'
import { statSync, truncateSync } from 'node:fs'
import { open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { isFullError } from '../error.js'

/** The size of the whole reserve, in bytes. */
export const reserveSize = 4 * 1024 * 1024
/** The bytes of blobs from which on a store has a reserve: a new store takes little space. */
export const reservedSizeMin = 4 * reserveSize
/** The bytes that are given back to the disk at a time. */
const releaseStep = 1024 * 1024
/** The bytes that must stay free on the disk when the reserve is made. */
const slack = 1024 * 1024
const chunkSize = 256 * 1024

/** The reserve of one store. */
export class Reserve {
  readonly #directory: string
  readonly #path: string
  #size: number
  #impossible = false

  constructor(directory: string) {
    this.#directory = directory
    this.#path = join(directory, 'reserve')
    this.#size = sizeOf(this.#path)
  }

  /** True if the file has any bytes. */
  get isThere(): boolean {
    return this.#size > 0
  }

  /** True if the file has all its bytes. */
  get isWhole(): boolean {
    return this.#size >= reserveSize
  }

  /** Makes the reserve whole if the disk has room. Resolves to 'impossible' if it
   *  failed for another reason than a full disk; it is then not tried again. Never throws. */
  async make(): Promise<'whole' | 'full' | 'impossible'> {
    if (this.#impossible) return 'impossible'
    try {
      if (await this.#isShort()) return 'full'
      await this.#write()
      return 'whole'
    } catch (error) {
      this.#impossible = !isFullError(error)
      return this.#impossible ? 'impossible' : 'full'
    }
  }

  /** Resolves to true if the file system says that it has no room. Where it says nothing, false:
   *  the write tells. */
  async #isShort(): Promise<boolean> {
    const { blocks, bfree, bsize } = await statfs(this.#directory)
    return blocks > 0 && bfree * bsize < reserveSize - this.#size + slack
  }

  /** Writes `slack` bytes more than the reserve, then cuts them off. If that fails, all that it
   *  wrote is cut off, so that released bytes stay free. */
  async #write(): Promise<void> {
    // Random bytes, which a file system cannot compress: the file takes all its space.
    const chunk = randomFillSync(Buffer.allocUnsafe(chunkSize))
    const file = await open(this.#path, 'a', 0o600)
    try {
      for (let size = this.#size; size < reserveSize + slack; size += chunkSize) {
        await file.appendFile(chunk)
      }
      await file.truncate(reserveSize)
      this.#size = reserveSize
    } catch (error) {
      await file.truncate(this.#size)
      throw error
    } finally {
      await file.close()
    }
  }

  /** Gives `releaseStep` bytes back to the disk. Returns false where nothing is left, or it
   *  failed. Never throws. */
  release(): boolean {
    if (this.#size === 0) return false
    try {
      truncateSync(this.#path, Math.max(0, this.#size - releaseStep))
    } catch {
      return false
    } finally {
      this.#size = sizeOf(this.#path)
    }
    return true
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
