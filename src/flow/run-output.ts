/** The output of the targets of a run: a log for each target that prints. See rfc/27, rules 10 to 12.
 *  Invariant: a target that prints nothing costs nothing. One commit at a time is on its way, for all
 *  targets of the run, and the next one takes all that came meanwhile. Memory is bounded for each target:
 *  beyond it the oldest output goes, as it does in the log. */

import type { Store } from '../api/store.js'
import type { Op } from '../api/transaction.js'
import { startTimer } from '../base/timer.js'
import { encodeEofs, encodeHeader, Gather, type Stream } from '../eventlog/stdio.js'
import { namespaceOfFlow } from './place.js'

/** The size of the last part of a target's output that is kept, in bytes. */
export const outputSizeMax = 4 * 1024 * 1024
/** The least time between two commits of output of a run, in ms. */
const outputMs = 100
/** The size of output above which a commit takes no further target, in bytes. */
const commitSizeMax = 2 * 1024 * 1024

/** The output of one target. */
type TargetLog = {
  readonly gather: Gather
  /** Blobs that are full, and not written. */
  full: Uint8Array[]
  fullSize: number
  /** True once its log has a header. */
  isBegun: boolean
}

/** Returns the key of the output of a target of a run. */
export function outputKey(run: string, target: string): string {
  return `${outputDirectory(run)}/${encodeURIComponent(target)}`
}

/** Returns the directory of the outputs of a run. */
export function outputDirectory(run: string): string {
  return `output/${run}`
}

/** The output. Mutable; owned by its run. */
export class RunOutput {
  readonly #place: { readonly store: Store; readonly flow: string; readonly run: string }
  readonly #logs = new Map<string, TargetLog>()
  /** The targets of which something is not written. */
  readonly #waiting = new Set<string>()
  readonly #ended = new Set<string>()
  #writing: Promise<void> | undefined
  #endRest: (() => void) | undefined
  #isBroken = false

  constructor(place: { readonly store: Store; readonly flow: string; readonly run: string }) {
    this.#place = place
  }

  /** Takes output of a target, which is copied. After its end it is dropped. */
  print(target: string, stream: Stream, bytes: Uint8Array): void {
    if (this.#isBroken || this.#ended.has(target) || bytes.length === 0) return
    const log = this.#logs.get(target) ?? newLog()
    this.#logs.set(target, log)
    for (const blob of log.gather.add(stream, bytes, Date.now() / 1_000)) {
      log.full.push(blob)
      log.fullSize += blob.length
    }
    while (log.fullSize > outputSizeMax) log.fullSize -= log.full.shift()?.length ?? 0
    this.#write(target)
  }

  /** Ends the log of a target, if it has one. */
  end(target: string): void {
    if (!this.#logs.has(target) || this.#ended.has(target)) return
    this.#ended.add(target)
    this.#write(target)
  }

  /** Ends all logs. Resolves when they are written, or cannot be. */
  async close(): Promise<void> {
    for (const target of this.#logs.keys()) this.end(target)
    while (this.#writing || this.#endRest) {
      this.#endRest?.()
      this.#endRest = undefined
      if (!this.#writing && this.#waiting.size > 0) this.#begin()
      await this.#writing
    }
  }

  #write(target: string): void {
    this.#waiting.add(target)
    if (!this.#writing && !this.#endRest) this.#begin()
  }

  /** Begins to write what waits, at the end of this turn of the event loop. Then it rests. */
  #begin(): void {
    this.#writing = Promise.resolve()
      .then(() => this.#commit())
      .catch(() => {
        // The log of the run tells what is wrong with the store.
        this.#isBroken = true
        this.#waiting.clear()
      })
      .then(() => {
        this.#writing = undefined
        this.#endRest = startTimer(outputMs, () => {
          this.#endRest = undefined
          if (this.#waiting.size > 0) this.#begin()
        })
      })
  }

  async #commit(): Promise<void> {
    const { store, flow, run } = this.#place
    const ops: Op[] = []
    let size = 0
    for (const target of this.#waiting) {
      const log = this.#logs.get(target)
      if (!log) continue
      const hasEnded = this.#ended.has(target)
      const taken = take(log, outputKey(run, target), hasEnded)
      this.#waiting.delete(target)
      if (hasEnded) this.#logs.delete(target)
      ops.push(...taken.ops)
      size += taken.size
      if (size > commitSizeMax) break
    }
    await store.commit({ ops }, { namespace: namespaceOfFlow(flow), exactlyOnce: true })
  }
}

function newLog(): TargetLog {
  return { gather: new Gather(), full: [], fullSize: 0, isBegun: false }
}

/** Takes what is not written of the output of a target. */
function take(
  log: TargetLog,
  key: string,
  hasEnded: boolean,
): { readonly ops: readonly Op[]; readonly size: number } {
  const now = Date.now() / 1_000
  const cap = { keepBytes: outputSizeMax }
  const begin: readonly Op[] = log.isBegun
    ? []
    : [{ op: 'append', key, value: encodeHeader(now), cap }]
  if (log.gather.size > 0) log.full.push(log.gather.take())
  const blobs = log.full
  log.full = []
  log.fullSize = 0
  log.isBegun = true
  const end: readonly Op[] = hasEnded
    ? [{ op: 'append', key, value: encodeEofs(now, log.gather.offsets), seal: true }]
    : []
  const appends = blobs.map((value): Op => ({ op: 'append', key, value }))
  return {
    ops: [...begin, ...appends, ...end],
    size: blobs.reduce((sum, { length }) => sum + length, 0),
  }
}
