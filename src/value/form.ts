/** One form of a value in memory: its packed bytes, or the opened value. See rfc/23, rules 6 and 9 to 11.
 *  Invariant: it is loaded once for all who use it. While it is here the ledger counts it once, and
 *  may forget it exactly while nobody uses it. */

import type { Idle, Kind, Ledger } from './ledger.js'

/** A value that was loaded into memory. */
export type Loaded<V> = {
  readonly value: V
  /** The bytes that the ledger has given for it. */
  readonly size: number
  /** True if it goes as soon as nobody uses it. */
  readonly isPassing?: true
  /** Called when it is no longer here. */
  readonly gone?: () => void
}

/** The way in which memory is freed. */
export type Leave = {
  /** True if it can be had again, or be written so that it can. */
  readonly may: () => boolean
  /** True if it cannot be had again before it is written. */
  readonly isWritten: () => boolean
  /** Writes it where it can be had again. Returns undefined where it stands there already. */
  readonly write: () => Promise<void> | undefined
}

const simply: Leave = { may: () => true, isWritten: () => false, write: () => undefined }

type Here<V> = Loaded<V> & { readonly idle: Idle }

/** Memory of a value, which several use. Mutable; owned by its value. */
export class Form<V> {
  readonly #ledger: Ledger
  readonly #kind: Kind
  readonly #leave: Leave
  #here: Here<V> | undefined
  #loading: Promise<void> | undefined
  #uses = 0
  /** True while it is written elsewhere. */
  #isLeaving = false
  /** True if it need not be kept where it could not be written. */
  #isDropped = false
  readonly #onLoad = new Set<() => void>()

  constructor(ledger: Ledger, kind: Kind, leave: Leave = simply) {
    this.#ledger = ledger
    this.#kind = kind
    this.#leave = leave
  }

  /** True if it is in memory. */
  get isHere(): boolean {
    return this.#here !== undefined
  }

  /** True if a use of it needs no memory: it is here, or on its way with memory of its own. */
  get isShared(): boolean {
    return this.#here !== undefined || this.#loading !== undefined
  }

  /** Settles as the load does that is on its way; undefined if there is none. */
  get loading(): Promise<void> | undefined {
    return this.#loading
  }

  /** The memory as the ledger knows it, as a list of at most one. */
  get memory(): readonly Idle[] {
    return this.#here ? [this.#here.idle] : []
  }

  /** The value in memory. REQUIRES: it is used, and its load has resolved. */
  get value(): V {
    if (!this.#here) throw new Error('a value is loaded before it is used')
    return this.#here.value
  }

  /** Begins a use: from now on it is not forgotten. */
  begin(): void {
    this.#uses++
    this.#isDropped = false
    if (this.#here) this.#ledger.wake(this.#here.idle)
  }

  /** Ends what `begin` began. */
  end(): void {
    this.#uses--
    this.settle()
  }

  /** Begins to load it. `work` is called at once, and gives the memory back if it fails. REQUIRES: it is
   *  not shared. */
  load(work: () => Promise<Loaded<V>>): void {
    const loading = this.#load(work)
    loading.catch(() => {}) // who uses it hears of it
    this.#loading = loading
    for (const run of [...this.#onLoad]) run()
  }

  /** Keeps a value that is in memory already. REQUIRES: the ledger has given its size. */
  keep(loaded: Loaded<V>): void {
    const { size } = loaded
    const idle: Idle = {
      ...{ kind: this.#kind, size },
      isIdle: () => this.#here?.idle === idle && this.#uses === 0,
      isWritten: () => this.#leave.isWritten(),
      forget: () => this.#forget(),
    }
    this.#here = { ...loaded, idle }
    this.settle()
  }

  /** Puts another value of the same size in the place of the one that is here. */
  replace(value: V): void {
    if (this.#here) this.#here = { ...this.#here, value }
  }

  /** Returns the value and its memory, which the caller gives back; undefined if it is not here. */
  take(): Loaded<V> | undefined {
    const here = this.#here
    if (!here) return undefined
    this.#ledger.wake(here.idle)
    this.#here = undefined
    return here
  }

  /** Gives the memory back that nobody uses. */
  drop(): void {
    if (!this.#here || this.#uses > 0) return
    this.#isDropped = true
    if (this.#isLeaving) return
    const { size } = this.#here
    this.#ledger.wake(this.#here.idle)
    this.#clear()
    this.#ledger.give({ [this.#kind]: size })
  }

  /** Lets the ledger forget it, if nobody uses it and it may be. Call it when that has changed. */
  settle(): void {
    // While it is written elsewhere, the end of that write frees it.
    if (!this.#here || this.#uses > 0 || this.#isLeaving) return
    if (this.#here.isPassing) this.drop()
    else if (this.#leave.may()) this.#ledger.rest(this.#here.idle)
  }

  /** Calls `run` when a load begins, until the returned function is called. */
  onLoad(run: () => void): () => void {
    this.#onLoad.add(run)
    return () => this.#onLoad.delete(run)
  }

  async #load(work: () => Promise<Loaded<V>>): Promise<void> {
    try {
      // Nobody may use it any more by now: the ledger hears of that, too.
      this.keep(await work())
    } finally {
      this.#loading = undefined
    }
  }

  #forget(): Promise<boolean> | undefined {
    const written = this.#leave.write()
    if (written) return this.#leaveWhen(written)
    this.#clear()
    return undefined
  }

  /** Frees the memory once it is written. Resolves with false if somebody uses it by then. */
  async #leaveWhen(written: Promise<void>): Promise<boolean> {
    this.#isLeaving = true
    try {
      await written
    } catch (error) {
      if (!this.#isDropped) throw error
    } finally {
      this.#isLeaving = false
    }
    if (this.#uses > 0) return false
    this.#clear()
    return true
  }

  #clear(): void {
    const gone = this.#here?.gone
    this.#here = undefined
    gone?.()
  }
}
