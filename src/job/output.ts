/** A job's output on its way into the store. See rfc/11.
 *  Invariant: at most `heldMax` bytes are in memory and not yet durable, as long as the caller stops
 *  reading while `full`; they are appended in the order in which they came, each once, also where
 *  the store fails for a while. */

import type { Environment } from '../base/environment.js'
import { Wakeup } from '../base/wakeup.js'
import { type TailraceError, toTailraceError } from '../error.js'
import type { Offsets, Stream } from '../eventlog/stdio.js'
import { Gather } from './gather.js'
import type { Surely } from './surely.js'

/** Bytes of a job's output in memory that are not durable yet. */
export const heldMaxDefault = 4 * 1024 * 1024
/** What may still arrive after both pipes were told to stop: one read of each. */
const readSlack = 2 * 64 * 1024

type Batch = { readonly index: number; readonly bytes: Uint8Array }

/** What is left when the streams have ended: for the transaction that seals the output. */
export type OutputRest = {
  /** Blobs in the store. */
  readonly count: number
  readonly rest: Uint8Array | undefined
  readonly offsets: Offsets
}

export type OutputOptions = {
  readonly surely: Surely
  readonly environment: Environment
  readonly key: string
  /** Blobs in the store. */
  readonly count: number
  readonly heldMax: number
}

export class OutputWriter {
  /** Wakes when bytes became durable, and when the store was given up. */
  readonly moved = new Wakeup()
  readonly #surely: Surely
  readonly #environment: Environment
  readonly #key: string
  readonly #heldMax: number
  readonly #gather = new Gather()
  /** Sent or to be sent, in order; each is guarded by its index, so that none overtakes another. */
  #unanswered: Batch[] = []
  #unansweredSize = 0
  #next: number
  #sending = 0
  #trouble = false
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

  /** Do not read on before `moved` wakes. */
  get full(): boolean {
    return !this.#failed && this.held + readSlack > this.#heldMax
  }

  get held(): number {
    return this.#gather.size + this.#unansweredSize
  }

  /** The most that was held at once. */
  get heldPeak(): number {
    return this.#heldPeak
  }

  /** Why the store was given up: what is written from then on is dropped. */
  get failed(): TailraceError | undefined {
    return this.#failed
  }

  /** Copies the bytes. A lone piece is sent at once; while an append is on its way, what comes is
   *  gathered into full blobs. No timer is needed: the answer sends what was gathered meanwhile. */
  write(stream: Stream, chunk: Uint8Array): void {
    if (this.#failed) return
    for (const blob of this.#gather.add(stream, chunk, this.#environment.now() / 1000)) {
      this.#send(blob)
    }
    this.#heldPeak = Math.max(this.#heldPeak, this.held)
    this.#flushIfIdle()
  }

  /** Waits until all that was sent is durable. Throws why the store was given up. */
  async close(): Promise<OutputRest> {
    this.#closing = true
    while (this.#unanswered.length > 0 && !this.#failed) await this.moved.wait(this.moved.count)
    if (this.#failed) throw this.#failed
    const rest = this.#gather.size > 0 ? this.#gather.take() : undefined
    return { count: this.#next, rest, offsets: this.#gather.offsets }
  }

  #flushIfIdle(): void {
    if (this.#unanswered.length > 0 || this.#gather.size === 0 || this.#closing) return
    this.#send(this.#gather.take())
  }

  #send(bytes: Uint8Array): void {
    const batch = { index: this.#next++, bytes }
    this.#unanswered.push(batch)
    this.#unansweredSize += bytes.length
    // In trouble, `#recover` sends what is unanswered, in order.
    if (!this.#trouble) void this.#sendOnce(batch)
  }

  /** Never rejects. */
  async #sendOnce(batch: Batch): Promise<void> {
    this.#sending++
    try {
      await this.#surely.once(this.#commitOf(batch))
      this.#answered(batch)
    } catch {
      this.#trouble = true
    } finally {
      this.#sending--
      // Not before all others are answered: their guards have refused what follows the failed one.
      if (this.#trouble && this.#sending === 0) void this.#recover()
    }
  }

  /** Sends what is unanswered again, one after the other, first to last. Never rejects. */
  async #recover(): Promise<void> {
    try {
      for (;;) {
        const [batch] = this.#unanswered
        if (!batch) break
        await this.#surely.commit(this.#commitOf(batch))
        this.#answered(batch)
      }
      this.#trouble = false
      this.#flushIfIdle()
    } catch (error) {
      this.#failed = toTailraceError(error)
      this.moved.wake()
    }
  }

  #commitOf({ index, bytes }: Batch) {
    const ops = [{ op: 'append', key: this.#key, value: bytes }] as const
    return { ops, key: this.#key, count: index }
  }

  #answered(batch: Batch): void {
    this.#unanswered = this.#unanswered.filter((other) => other !== batch)
    this.#unansweredSize -= batch.bytes.length
    if (!this.#trouble) this.#flushIfIdle()
    this.moved.wake()
  }
}
