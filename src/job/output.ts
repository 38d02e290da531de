/** Appends a job's output to its log in the store. See rfc/11, rules 7 and 12.
 *  Invariant: at most `heldMax` bytes are in memory and not yet durable, as long as the caller
 *  stops reading while `full`. They are appended in the order in which they came, each once, even
 *  if the store fails for a while. */

import type { Environment } from '../base/environment.js'
import { Wakeup } from '../base/wakeup.js'
import { type TailraceError, toTailraceError } from '../error.js'
import { Gather, type Offsets, type Stream } from '../eventlog/stdio.js'
import type { Surely } from './surely.js'

/** The largest part of a job's output that is in memory and not durable yet, in bytes. */
export const heldMaxDefault = 4 * 1024 * 1024
/** The size of one read of a pipe, in bytes, before it is full: what a pipe holds. */
export const readSizeMin = 64 * 1024
/** The number of appends that are on their way at once: while one is written, the next one is
 *  prepared. */
const unansweredMax = 2

/** Blobs that are appended together. `index` is that of the first one. */
type Batch = {
  readonly index: number
  readonly blobs: readonly Uint8Array[]
  /** The bytes of all blobs. */
  readonly size: number
}

/** The last part of an output, for the transaction that seals it. */
export type OutputRest = {
  /** The number of blobs of the output in the store. */
  readonly count: number
  /** Bytes that are not in the store yet. */
  readonly rest: Uint8Array | undefined
  /** The offsets of the streams at their ends. */
  readonly offsets: Offsets
}

type OutputOptions = {
  readonly surely: Surely
  readonly environment: Environment
  readonly key: string
  /** The number of blobs of the output in the store. */
  readonly count: number
  readonly heldMax: number
}

export class OutputWriter {
  /** Wakes when bytes have become durable, and when the store was given up. */
  readonly moved = new Wakeup()
  readonly #surely: Surely
  readonly #environment: Environment
  readonly #key: string
  readonly #heldMax: number
  readonly #gather = new Gather()
  /** Full blobs that were not sent yet. */
  #full: Uint8Array[] = []
  #fullSize = 0
  /** Batches that were sent or will be, in order. Each is guarded by its index: none overtakes
   *  another. */
  #unanswered: Batch[] = []
  #unansweredSize = 0
  #next: number
  #sending = 0
  /** True from a failed append until `#recover` has sent all that is unanswered. */
  #recovering = false
  #closing = false
  #failed: TailraceError | undefined
  #heldPeak = 0

  constructor(options: OutputOptions) {
    this.#surely = options.surely
    this.#environment = options.environment
    this.#key = options.key
    this.#next = options.count
    this.#heldMax = options.heldMax
  }

  /** True while the caller must not read on. Wait for `moved`, then look again. */
  get full(): boolean {
    // Both pipes may still bring one read.
    return !this.#failed && this.held + 2 * this.readSizeMax > this.#heldMax
  }

  /** The largest size of one read of a pipe, in bytes. */
  get readSizeMax(): number {
    return Math.max(readSizeMin, Math.floor(this.#heldMax / 4))
  }

  /** The number of bytes that are in memory and not durable yet. */
  get held(): number {
    return this.#gather.size + this.#fullSize + this.#unansweredSize
  }

  /** The largest value that `held` had, in bytes. Only tests use it. */
  get heldPeak(): number {
    return this.#heldPeak
  }

  /** The error for which the store was given up. From then on `write` drops its bytes. */
  get failed(): TailraceError | undefined {
    return this.#failed
  }

  /** Copies the bytes, and appends them. A lone piece is sent at once. While appends are on their
   *  way, pieces are gathered into blobs, which are then sent together. No timer is needed: the
   *  answer to an append sends what was gathered. */
  write(stream: Stream, chunk: Uint8Array): void {
    if (this.#failed) return
    for (const blob of this.#gather.add(stream, chunk, this.#environment.now() / 1000)) {
      this.#full.push(blob)
      this.#fullSize += blob.length
    }
    this.#heldPeak = Math.max(this.#heldPeak, this.held)
    this.#flush()
  }

  /** Waits until all that was sent is durable. Throws the error for which the store was given
   *  up. */
  async close(): Promise<OutputRest> {
    this.#closing = true
    while (this.#unanswered.length > 0 && !this.#failed) await this.moved.wait(this.moved.count)
    if (this.#failed) throw this.#failed
    const rest = this.#gather.size > 0 ? this.#gather.take() : undefined
    return { count: this.#next, rest, offsets: this.#gather.offsets }
  }

  /** Sends what was gathered: all of it if no append is on its way, only full blobs beside one. */
  #flush(): void {
    const isIdle = this.#unanswered.length === 0
    if (isIdle && this.#gather.size > 0 && !this.#closing) this.#full.push(this.#gather.take())
    if (this.#full.length === 0 || this.#unanswered.length >= unansweredMax) return
    const blobs = this.#full
    this.#full = []
    this.#fullSize = 0
    const batch = { index: this.#next, blobs, size: sizeOf(blobs) }
    this.#next += blobs.length
    this.#unanswered.push(batch)
    this.#unansweredSize += batch.size
    // `#recover` sends this batch too, in its order.
    if (!this.#recovering) void this.#sendOnce(batch)
  }

  /** Sends a batch once. Never rejects. */
  async #sendOnce(batch: Batch): Promise<void> {
    this.#sending++
    try {
      await this.#surely.once(this.#commitOf(batch))
      this.#answered(batch)
    } catch {
      this.#recovering = true
    } finally {
      this.#sending--
      // Wait for the answers to all batches: those behind a failed one were refused by their
      // guards.
      if (this.#recovering && this.#sending === 0) void this.#recover()
    }
  }

  /** Sends all unanswered batches again, one after the other, in order. Never rejects. */
  async #recover(): Promise<void> {
    try {
      for (;;) {
        const [batch] = this.#unanswered
        if (!batch) break
        await this.#surely.commit(this.#commitOf(batch))
        this.#answered(batch)
      }
      this.#recovering = false
      this.#flush()
    } catch (error) {
      this.#failed = toTailraceError(error)
      this.moved.wake()
    }
  }

  #commitOf({ index, blobs }: Batch) {
    const ops = blobs.map((value) => ({ op: 'append', key: this.#key, value }) as const)
    return { ops, key: this.#key, count: index }
  }

  #answered(batch: Batch): void {
    this.#unanswered = this.#unanswered.filter((other) => other !== batch)
    this.#unansweredSize -= batch.size
    if (!this.#recovering) this.#flush()
    this.moved.wake()
  }
}

function sizeOf(blobs: readonly Uint8Array[]): number {
  return blobs.reduce((sum, { length }) => sum + length, 0)
}
