/** The retention of a namespace: judges its floor, the seq of its oldest retained root. See rfc/10,
 *  rules 3 to 7.
 *  Invariant: the floor never goes back. The newest root is always retained. A root below the floor
 *  is read only by readers who held it before, and by pins and kept roots. */

import { setImmediate } from 'node:timers/promises'
import type { Settings } from '../api/namespace.js'
import type { Root } from '../engine/engine.js'
import type { RootLog } from './root-log.js'

/** The number of roots that are looked at between two turns of the event loop. */
export const floorPageSize = 256

type RetentionPorts = {
  /** Returns the time of the wall clock, ms since 1970: retention by age is a promise to people. */
  readonly now: () => number
  readonly log: RootLog
  readonly head: () => Root
  readonly settings: () => Promise<Settings>
  /** Reads the floor that `meta` records, 0 where it has none. */
  readonly recorded: () => Promise<number>
}

/** The fields of a root by which its retention is judged. */
type Candidate = Pick<Root, 'seq' | 'time' | 'written' | 'size'>

/** The floor of one namespace. */
export class Retention {
  readonly #ports: RetentionPorts
  /** The oldest roots that are still retained, in order and without a gap; more may follow. */
  #oldest: Candidate[] = []
  /** The seq of the last root that was read. */
  #after: number | undefined
  /** The number of roots from the floor to the head; undefined until it was needed. */
  #count: number | undefined
  #known: number | undefined
  /** The seq below which no root is retained, whatever the settings say. */
  #least = 0
  /** The end of the judgement that was begun last. They run one at a time. */
  #judging: Promise<void> = Promise.resolve()
  /** True while a judgement of `moved` waits. */
  #queued = false

  constructor(ports: RetentionPorts) {
    this.#ports = ports
    if (ports.head().seq > 0) return
    this.#count = 1
    this.#known = 0
  }

  /** The floor of the last judgement. It may be higher by now, but not lower. Undefined if it was
   *  not judged since the store was opened. */
  get known(): number | undefined {
    return this.#known
  }

  /** Raises the floor to `seq`, at the next judgement. REQUIRES: `meta` records that floor. */
  raise(seq: number): void {
    this.#least = Math.max(this.#least, seq)
  }

  /** Judges the floor now, and returns it. Throws what a read of the history throws. */
  async floor(): Promise<number> {
    const judged = this.#judging.then(() => this.#judge())
    this.#judging = judged.then(
      () => {},
      () => {}, // the caller gets the error by `judged`
    )
    return judged
  }

  /** Estimates the bytes that only the history holds (rfc/10, rule 5). Throws what `floor`
   *  throws. */
  async size(): Promise<number> {
    await this.floor()
    const [oldest] = this.#oldest
    return oldest ? Math.max(0, costOf(oldest, this.#ports.head())) : 0
  }

  /** Judges the floor soon. Called after each move of the root, so that a root which is dropped by
   *  a rule stays dropped, whatever settings and clock say later. */
  moved(): void {
    if (this.#count !== undefined) this.#count++
    if (this.#queued) return
    this.#queued = true
    const judged = this.#judging.then(() => {
      this.#queued = false
      return this.#judge()
    })
    // The error is not lost: a call of `floor` meets it again.
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

  /** Resolves to true if a root is not among the last `count` ones. */
  async #isSurplus(oldest: Candidate, count: number): Promise<boolean> {
    // Each root takes at least one seq. So a root with fewer than `count` seqs after it is among
    // the last ones, and the roots need not be counted.
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
        // Set in the turn that looked at the head: `moved` counts the roots that come after.
        this.#count = count
        return count
      }
      await setImmediate()
    }
  }

  /** Reads the next page of roots into `#oldest`, from the recorded floor on, and
   *  returns its first one. */
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

/** Estimates the bytes that only the history between two roots holds: the bytes written since the
 *  first, less the growth of the tree. 0 where a root is older than these numbers. */
function costOf(from: Candidate, to: Candidate): number {
  const { written: writtenFrom, size: sizeFrom } = from
  const { written: writtenTo, size: sizeTo } = to
  if (writtenFrom === undefined || sizeFrom === undefined) return 0
  if (writtenTo === undefined || sizeTo === undefined) return 0
  return writtenTo - writtenFrom - (sizeTo - sizeFrom)
}
