/** A file of bytes that nobody needs, kept on the disk for the transactions that free others: on a
 *  full disk LMDB cannot even delete, since it writes a page that changes to another place. See
 *  rfc/4, rule 31.
 *  Invariant: what the file has less than `reserveSize` was given to such transactions, or was
 *  never there. */

import { randomFillSync } from 'node:crypto'
import { statSync, truncateSync } from 'node:fs'
import { open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { isFullError } from './disk.js'

/** Bytes that are kept. */
export const reserveSize = 4 * 1024 * 1024
/** A store whose file is smaller keeps none: a new one costs no more than it holds. */
export const reservedSizeMin = 4 * reserveSize
/** Bytes that are given back to the disk at a time. */
const releaseStep = 1024 * 1024
/** Bytes that are left to others when the reserve is made. */
const slack = 1024 * 1024
const chunkSize = 256 * 1024

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

  get isWhole(): boolean {
    return this.#size >= reserveSize
  }

  /** Makes it whole where the disk has room for that. `impossible`: there is another reason against
   *  it than a full disk, and nothing is tried again. Never throws. */
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

  /** What the file system says; where it says nothing, a write tells. */
  async #isShort(): Promise<boolean> {
    const { blocks, bfree, bsize } = await statfs(this.#directory)
    return blocks > 0 && bfree * bsize < reserveSize - this.#size + slack
  }

  /** Writes more than is to be kept: where that fails nothing is kept of it, so that what was
   *  released stays free. */
  async #write(): Promise<void> {
    // Random, so that a file system that compresses keeps as much.
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

  /** Gives a part of it back to the disk; false where nothing is left. Never throws. */
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
