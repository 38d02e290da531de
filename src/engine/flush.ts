/** Brings what the journal has into the tables, in transactions of their own beside the commits, and
 *  moves the watermark. See rfc/4, rule 17.
 *  Invariant: one transaction of the tables at a time. The watermark is written by the last one of a
 *  flush: then all records up to it are in the tables. A flush that fails, or a crash in its middle,
 *  loses nothing, since the journal is read from the old watermark on. */

import type { TailraceError } from '../error.js'
import type { Point } from '../journal/place.js'
import { encodePosition } from './record.js'
import { type Tables, Writes } from './tables.js'

/** The number of changes from which on they are brought into the tables. */
export const flushCount = 32_768
/** The bytes of the journal behind the watermark from which on a flush begins: an open reads at most
 *  some more than twice as many. */
export const flushSize = 64 * 1024 * 1024
/** The number of changes in one transaction: it takes some ms of the event loop. */
const sliceCount = 1_024
/** Commits wait for a flush under way once so many times `flushCount` changes wait. */
const waitFactor = 2

/** The key of the watermark in the table `meta`. */
export const positionKey = Buffer.from('position')

/** Something whose changes a flush brings into the tables. */
export type Flushed = {
  /** The number of changes that the tables do not have yet. */
  readonly waiting: number
  freeze(): void
  thaw(): Iterable<(writes: Writes) => void>
  release(): void
}

type FlushOptions = {
  readonly tables: Tables
  readonly parts: readonly Flushed[]
  /** The point up to which all records are in memory. */
  readonly end: () => Point
  readonly watermark: Point
  readonly count?: number
  /** Turns the failure of a transaction, of `size` bytes, into an error of the engine. */
  readonly diagnose: (size: number, cause: unknown) => Promise<TailraceError>
}

/** The flushes of one engine. */
export class Flush {
  readonly #options: FlushOptions
  readonly #count: number
  #watermark: Point
  #frozen: Point | undefined
  #running: Promise<void> | undefined
  /** The numbers of flushes that have begun, and that have ended. */
  #begun = 0
  #ended = 0
  /** The number of changes at the last failure: the next try comes with as many more. */
  #failedAt = 0
  #failure: TailraceError | undefined

  constructor(options: FlushOptions) {
    this.#options = options
    this.#count = options.count ?? flushCount
    this.#watermark = options.watermark
  }

  /** The point up to which the tables have all records. */
  get watermark(): Point {
    return this.#watermark
  }

  /** The number of changes that are in memory and in the journal only. */
  get waiting(): number {
    return this.#options.parts.reduce((sum, part) => sum + part.waiting, 0)
  }

  /** Begins a flush if enough changes wait. Resolves at once, or, where so many wait that memory must
   *  not have more, once the flush has ended: while flushes fail, each call tries one then. Throws
   *  ENOSPC, EIO where that flush failed. */
  async after(): Promise<void> {
    const { waiting } = this
    const isFull = waiting >= this.#count * waitFactor
    const due = waiting >= this.#count || this.#size >= flushSize
    const failed = this.#failure && waiting < this.#failedAt + this.#count / 8
    if (!due || (failed && !isFull)) return
    const running = this.#start()
    if (isFull) await running
    else running.catch(() => {}) // the changes wait on; the next flush is tried later
  }

  /** Brings everything that is in the journal now into the tables, and what comes meanwhile only by
   *  chance. Throws ENOSPC, EIO. */
  async all(): Promise<void> {
    if (this.waiting === 0 && this.#watermark.number === this.#options.end().number) return
    // A flush that has begun may not have the newest changes; the next one has all of them.
    for (const needed = this.#begun + 1; this.#ended < needed; ) await this.#start()
  }

  /** Waits for the flush under way if more changes wait than begin one: commits will wait for it at
   *  twice as many. */
  async caughtUp(): Promise<void> {
    if (this.waiting > this.#count) await this.idle()
  }

  /** Resolves when no transaction is under way. */
  async idle(): Promise<void> {
    await this.#running?.catch(() => {})
  }

  get #size(): number {
    const [from, to] = [this.#watermark, this.#options.end()]
    return from.segment === to.segment ? to.offset - from.offset : flushSize
  }

  #start(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #run(): Promise<void> {
    const { parts } = this.#options
    if (!this.#frozen) {
      this.#begun++
      this.#frozen = this.#options.end()
      for (const part of parts) part.freeze()
    }
    const watermark = this.#frozen
    try {
      await this.#bring(watermark)
    } catch (error) {
      this.#failedAt = this.waiting
      this.#failure = error as TailraceError
      throw error
    }
    for (const part of parts) part.release()
    this.#failure = undefined
    this.#frozen = undefined
    this.#watermark = watermark
    this.#ended++
  }

  async #bring(watermark: Point): Promise<void> {
    let writes = new Writes()
    for (const part of this.#options.parts) {
      for (const add of part.thaw()) {
        add(writes)
        if (writes.list.length < sliceCount) continue
        await this.#write(writes)
        writes = new Writes()
      }
    }
    writes.put(this.#options.tables.meta, positionKey, encodePosition(watermark))
    await this.#write(writes)
  }

  async #write(writes: Writes): Promise<void> {
    const { tables, diagnose } = this.#options
    try {
      await tables.write(writes)
    } catch (cause) {
      throw await diagnose(writes.size, cause)
    }
  }
}
