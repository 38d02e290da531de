/** How much of a namespace's past is retained: the floor, its oldest retained root. See rfc/10.
 *  Invariant: the floor never goes back; the newest root is always retained; a root below the floor is
 *  read by nobody who did not hold it before. */

import { setImmediate } from 'node:timers/promises'
import type { Settings } from '../api/namespace.js'
import type { Root } from '../engine/engine.js'
import type { RootLog } from './root-log.js'

/** Roots looked at in one go, between two turns of the event loop. */
export const floorPageSize = 256

export type RetentionPorts = {
  /** Wall clock, ms since 1970: retention by age is a promise to people. */
  readonly now: () => number
  readonly log: RootLog
  readonly head: () => Root
  readonly settings: () => Promise<Settings>
  /** The floor as it stands in `meta`, 0 where nothing does. */
  readonly recorded: () => Promise<number>
}

/** What a root has to say for itself once only its retention matters. */
type Candidate = Pick<Root, 'seq' | 'time' | 'written' | 'size'>

export class Retention {
  readonly #ports: RetentionPorts
  /** The oldest roots that were not dropped, in order and without a gap; more may follow. */
  #oldest: Candidate[] = []
  /** The seq of the last root that was read. */
  #after: number | undefined
  /** Roots from the floor to the head; undefined until it was needed. */
  #count: number | undefined
  #known: number | undefined
  /** No older root is retained, whatever the settings say. */
  #least = 0
  /** One judgement at a time. */
  #judging: Promise<void> = Promise.resolve()
  #queued = false

  constructor(ports: RetentionPorts) {
    this.#ports = ports
    if (ports.head().seq > 0) return
    this.#count = 1
    this.#known = 0
  }

  /** The floor as it was judged last; it may be higher by now, never lower. Undefined: it was not yet
   *  judged since the store was opened. For what drops roots, not for what reads them. */
  get known(): number | undefined {
    return this.#known
  }

  /** No root below `seq` is retained from now on. REQUIRES: that is recorded in `meta`. */
  raise(seq: number): void {
    this.#least = Math.max(this.#least, seq)
  }

  /** The oldest retained seq, judged now. Throws what reading the history throws. */
  async floor(): Promise<number> {
    const judged = this.#judging.then(() => this.#judge())
    this.#judging = judged.then(
      () => {},
      () => {}, // It is its caller's to hear of.
    )
    return judged
  }

  /** Bytes that only the history holds, estimated (rfc/10, rule 5). Throws as `floor`. */
  async size(): Promise<number> {
    await this.floor()
    const [oldest] = this.#oldest
    return oldest ? Math.max(0, costOf(oldest, this.#ports.head())) : 0
  }

  /** The head has moved: judges soon, so that what goes by a rule is gone by it whoever asks later. */
  moved(): void {
    if (this.#count !== undefined) this.#count++
    if (this.#queued) return
    this.#queued = true
    const judged = this.#judging.then(() => {
      this.#queued = false
      return this.#judge()
    })
    // Whoever asks for the floor meets the same error again.
    this.#judging = judged.then(
      () => {},
      () => {},
    )
  }

  async #judge(): Promise<number> {
    const { now, head } = this.#ports
    const settings = await this.#ports.settings()
    for (;;) {
      const oldest = this.#oldest[0] ?? (await this.#read())
      if (!oldest) throw new Error('a namespace has a root from its creation on')
      this.#known = Math.max(this.#known ?? 0, oldest.seq)
      const newest = head()
      if (oldest.seq === newest.seq) return oldest.seq
      const dropped = oldest.seq < this.#least
      const tooLarge = costOf(oldest, newest) > settings.historySize
      const tooOld = now() - oldest.time >= settings.historyAgeMs
      const mayGo =
        dropped || tooLarge || (tooOld && (await this.#isSurplus(oldest, settings.historyCount)))
      if (!mayGo) return oldest.seq
      this.#oldest.shift()
      if (this.#count !== undefined) this.#count--
    }
  }

  /** Is a root beyond the last `count` ones? */
  async #isSurplus(oldest: Candidate, count: number): Promise<boolean> {
    // Each root has a seq of its own: most often that says it without counting.
    if (this.#ports.head().seq - oldest.seq < count) return false
    return (this.#count ?? (await this.#countFrom(oldest.seq))) > count
  }

  async #countFrom(seq: number): Promise<number> {
    let count = 0
    for (let last = seq - 1; ; ) {
      const page = await this.#ports.log.page(last, floorPageSize)
      count += page.length
      last = page.at(-1)?.seq ?? last
      if (page.length === 0 || last >= this.#ports.head().seq) {
        // In the turn that looked at the head: `moved` counts what comes after.
        this.#count = count
        return count
      }
      await setImmediate()
    }
  }

  /** The next roots from the floor on. */
  async #read(): Promise<Candidate | undefined> {
    this.#after ??= (await this.#ports.recorded()) - 1
    const page = await this.#ports.log.page(this.#after, floorPageSize)
    this.#after = page.at(-1)?.seq ?? this.#after
    this.#oldest = page.map(({ seq, time, written, size }) => ({
      seq,
      time,
      ...(written === undefined ? {} : { written }),
      ...(size === undefined ? {} : { size }),
    }))
    if (page.length === floorPageSize) await setImmediate()
    return this.#oldest[0]
  }
}

/** Bytes that only the history from a root on holds, estimated: what was written since, less what the
 *  tree has grown by. 0 where the roots do not say. */
function costOf(from: Candidate, to: Candidate): number {
  const { written: writtenFrom, size: sizeFrom } = from
  const { written: writtenTo, size: sizeTo } = to
  if (writtenFrom === undefined || sizeFrom === undefined) return 0
  if (writtenTo === undefined || sizeTo === undefined) return 0
  return writtenTo - writtenFrom - (sizeTo - sizeFrom)
}
