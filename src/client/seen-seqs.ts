/** The seqs that a client has seen in the answers of a server, by namespace. A write that may be sent
 *  again needs one from before its first try, to say since when it may have been done. See rfc/12,
 *  rule 21.
 *  Invariant: a seq stands here only once the server has answered with it, so that a write which is
 *  sent later is committed above it. The last answer counts, not the highest seq: a namespace that
 *  was made anew begins at 0. */

import { primary } from '../api/namespace.js'
import { startTimer } from '../base/timer.js'

/** The age of a seq, in ms, from which on the server is asked for a newer one before a write is first
 *  sent. An older seq is as right, but more answers may have been forgotten since. */
const seenAgeMaxMs = 10_000
/** The time for which a write waits for that answer, in ms. */
const askMaxMs = 5_000

/** Asks the server for the seq of a namespace. */
type AskSeq = (namespace: string, signal: AbortSignal) => Promise<number>

type Seen = { seq: number; time: number }

export class SeenSeqs {
  readonly #ask: AskSeq
  readonly #seen = new Map<string, Seen>()
  readonly #asked = new Map<string, Promise<void>>()

  constructor(ask: AskSeq) {
    this.#ask = ask
  }

  /** Notes the seq of an answer. */
  see(seq: number, namespace: string = primary): void {
    const seen = this.#seen.get(namespace)
    const time = performance.now()
    if (!seen) {
      this.#seen.set(namespace, { seq, time })
      return
    }
    seen.seq = seq
    seen.time = time
  }

  /** Returns the last seq that was seen; 0, which is before every write, if none was. */
  last(namespace: string = primary): number {
    return this.#seen.get(namespace)?.seq ?? 0
  }

  /** Asks the server for a seq if none was seen lately. Returns undefined if one was. The promise
   *  never rejects: without an answer the last seq stays as it was, which is right, though old. */
  renewed(namespace: string = primary): Promise<void> | undefined {
    const asked = this.#asked.get(namespace)
    if (asked) return asked
    const seen = this.#seen.get(namespace)
    if (seen && performance.now() - seen.time < seenAgeMaxMs) return undefined
    const renewing = this.#renew(namespace)
    this.#asked.set(namespace, renewing)
    return renewing
  }

  async #renew(namespace: string): Promise<void> {
    const late = new AbortController()
    const stop = startTimer(askMaxMs, () => late.abort())
    try {
      this.see(await this.#ask(namespace, late.signal), namespace)
    } catch {
      // The write itself tells its caller what is wrong: no server, no such namespace, no right.
    } finally {
      stop()
      this.#asked.delete(namespace)
    }
  }
}
