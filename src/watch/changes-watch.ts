/** One watch of the changes below a key: it delivers the keys that differ between the state that it
 *  has told and the newest one, by a walk over both trees that skips what is equal. See rfc/7, rules
 *  24 to 27.
 *  Invariant: the events of a watch, applied in order to what was there at its start, give what is
 *  there now. What it compares is held from collections while it waits for a change, and for
 *  `readerHoldMs` while it waits for its consumer; later it is looked up by its seq. */

import type { DiffEntry } from '../api/history.js'
import type { ChangesEvent, ChangesPosition, LiveEvent } from '../api/watch.js'
import type { Signal } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import { defined } from '../base/shape.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import { readerHoldMs } from '../past/holds.js'
import type { LiveNamespace } from '../past/namespace.js'
import { differenceOf, passedOf, treeobjAt } from '../past/timeline.js'
import { type Difference, diffTreeobj } from '../tree/diff.js'
import { statOf } from '../treeobj/codec.js'
import { type Key, shownKey } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'
import type { DirFollower } from './dir-followers.js'
import type { WatchedStore } from './sights.js'

/** The largest number of entries of one event. */
export const changesMax = 1_000
/** The number of characters of keys after which an event ends. */
const changesSizeMax = 64 * 1024

/** The state that the watcher was told: the seq of its root, none before all that is there, and the
 *  treeobj at the key then. */
type Told = { readonly seq: number | undefined; readonly treeobj: Treeobj | undefined }

/** A comparison that is being told. */
type Telling = {
  readonly to: number
  readonly target: Treeobj | undefined
  readonly differences: AsyncGenerator<Difference>
  /** The next difference, which the last event had no room for. */
  ahead: Difference | undefined
  /** The last key that was told. */
  after: string | undefined
}

type ChangesPorts = {
  readonly store: WatchedStore
  readonly follower: DirFollower
  readonly timer: Environment['timer']
}

/** The start of a watch of changes. */
export type ChangesStart = {
  readonly since: number | ChangesPosition | undefined
  /** True to begin with all that is there. */
  readonly initial: boolean
}

/** Mutable; owned by the one who asks for its events. */
export class ChangesWatch implements Disposable {
  readonly #ports: ChangesPorts
  readonly #key: Key
  readonly #start: ChangesStart
  #live: LiveNamespace | undefined
  #told: Told = { seq: undefined, treeobj: undefined }
  #telling: Telling | undefined
  #begun = false
  /** True once an event with a position was given. */
  #hasTold = false
  #isLive = false
  /** The count of the follower's marks at the last look. */
  #seen = -1
  /** Holds what is compared. Undefined once they have lapsed. */
  #holds: Disposable[] | undefined = []
  #lapsing: Disposable | undefined

  constructor(ports: ChangesPorts, key: Key, start: ChangesStart) {
    this.#ports = ports
    this.#key = key
    this.#start = start
  }

  /** Resolves with the next event. REQUIRES: no other `next` is under way. Throws ENONS, ECOMPACTED
   *  (`failed.state` has the seqs of the oldest and the newest root), EOVERWRITTEN (the namespace was
   *  made anew), EINVAL, ECLOSED, ECANCELED, and what a load throws. */
  async next(signal: Signal): Promise<ChangesEvent | LiveEvent> {
    this.#lapsing?.[Symbol.dispose]()
    this.#lapsing = undefined
    const event = await this.#next(signal)
    this.#lapsing = this.#ports.timer(readerHoldMs, () => this.#letGo())
    return event
  }

  [Symbol.dispose](): void {
    this.#lapsing?.[Symbol.dispose]()
    this.#letGo()
  }

  async #next(signal: Signal): Promise<ChangesEvent | LiveEvent> {
    const live = this.#live ?? this.#find()
    if (!this.#begun) await this.#begin(live)
    else if (!this.#holds) await this.#takeUp(live)
    const { moved } = this.#ports.follower
    for (;;) {
      const event = this.#telling && (await this.#tell(this.#telling, live))
      if (event) return event
      if (!this.#isLive) {
        this.#isLive = true
        return { type: 'live' }
      }
      if (live.ended) throw live.ended
      if (moved.count === this.#seen) await moved.wait(this.#seen, signal)
      else await this.#compare(live)
    }
  }

  #find(): LiveNamespace {
    const { store, follower } = this.#ports
    const live = store.peekNamespace(follower.namespace)
    if (!live || live.ended) {
      throw live?.ended ?? new TailraceError('ENONS', `there is no namespace ${follower.namespace}`)
    }
    this.#live = live
    return live
  }

  /** Finds what the watcher knows already, and compares it with the newest root. */
  async #begin(live: LiveNamespace): Promise<void> {
    const { since, initial } = this.#start
    if (typeof since === 'object') {
      if (since.incarnation !== live.record.incarnation) throw madeAnew(live)
      await this.#resume(live, since)
    } else if (since !== undefined) {
      this.#told = { seq: since, treeobj: await this.#at(live, since) }
      await this.#compare(live)
    } else {
      await this.#compare(live)
      if (!initial && this.#telling) {
        const { to, target } = this.#telling
        this.#told = { seq: to, treeobj: target }
        this.#telling = this.#from(this.#told, { to, target, after: undefined })
      }
    }
    this.#begun = true
  }

  /** Goes on from a position. One whose root is not retained any more is good as long as nothing has
   *  changed since. */
  async #resume(live: LiveNamespace, position: ChangesPosition): Promise<void> {
    const { seq, to, after, ref } = position
    if (to !== undefined) {
      const base = seq === undefined ? undefined : await this.#at(live, seq)
      const target = await this.#at(live, to)
      this.#told = { seq, treeobj: base }
      this.#telling = this.#from(this.#told, { to, target, after })
      return
    }
    try {
      this.#told = { seq, treeobj: seq === undefined ? undefined : await this.#at(live, seq) }
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED')) throw error
      const now = await this.#at(live, undefined)
      if (refOf(now) !== ref) throw error
      this.#told = { seq, treeobj: now }
    }
    await this.#compare(live)
  }

  /** Looks up again what had lapsed. */
  async #takeUp(live: LiveNamespace): Promise<void> {
    this.#holds = []
    const { seq, treeobj } = this.#told
    const position: ChangesPosition = { incarnation: live.record.incarnation, ...defined({ seq }) }
    if (!this.#telling) {
      const ref = refOf(treeobj)
      await this.#resume(live, { ...position, ...defined({ ref }) })
      return
    }
    const { to, after } = this.#telling
    await this.#resume(live, { ...position, to, ...defined({ after }) })
  }

  /** Begins to tell what differs between what was told and the newest root. */
  async #compare(live: LiveNamespace): Promise<void> {
    this.#seen = this.#ports.follower.moved.count
    // No await may come between these lines: a root that moved in between would be lost.
    const { root } = live
    const held = this.#ports.store.spaces.past.holdRoot(root)
    try {
      const target = await treeobjAt(this.#ports.store.nodes, await live.data(root), this.#key)
      if (target) this.#hold(target)
      this.#telling = this.#from(this.#told, { to: root.seq, target, after: undefined })
    } finally {
      held[Symbol.dispose]()
    }
  }

  #from(told: Told, { to, target, after }: Pick<Telling, 'to' | 'target' | 'after'>): Telling {
    const passed = passedOf(this.#key, after)
    const { nodes } = this.#ports.store
    const differences =
      passed === 'all' ? nothing() : diffTreeobj(nodes, this.#key, told.treeobj, target, passed)
    return { to, target, differences, ahead: undefined, after }
  }

  /** Returns the next event of a comparison; undefined once all was told. The first comparison has one
   *  event at least, so that the watcher knows where it stands. */
  async #tell(telling: Telling, live: LiveNamespace): Promise<ChangesEvent | undefined> {
    const entries: DiffEntry[] = []
    let size = 0
    let next = telling.ahead ?? (await nextOf(telling.differences))
    while (next && entries.length < changesMax && size < changesSizeMax) {
      entries.push(differenceOf(next))
      size += next.key.length
      telling.after = next.key
      next = await nextOf(telling.differences)
    }
    telling.ahead = next
    const before = this.#told
    if (!next) this.#finish(telling)
    if (entries.length === 0 && this.#hasTold) return undefined
    this.#hasTold = true
    const { incarnation } = live.record
    const { to, after } = telling
    const ref = refOf(telling.target)
    const position: ChangesPosition = next
      ? { incarnation, ...defined({ seq: before.seq, after }), to }
      : { incarnation, seq: to, ...defined({ ref }) }
    return {
      type: 'changes',
      ...defined({ from: before.seq }),
      seq: to,
      entries,
      ...(next && { more: true }),
      position,
    }
  }

  #finish({ to, target }: Telling): void {
    this.#telling = undefined
    this.#told = { seq: to, treeobj: target }
    const [...before] = this.#holds ?? []
    this.#holds = []
    if (target) this.#hold(target)
    for (const hold of before) hold[Symbol.dispose]()
  }

  /** Reads the treeobj of the key at a root, by default the newest, and holds it. Throws EINVAL,
   *  ECOMPACTED. */
  async #at(live: LiveNamespace, seq: number | undefined): Promise<Treeobj | undefined> {
    const { store } = this.#ports
    try {
      using held = await store.spaces.past.hold(live, seq)
      const treeobj = await treeobjAt(store.nodes, await live.data(held.root), this.#key)
      if (treeobj) this.#hold(treeobj)
      return treeobj
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED')) throw error
      const state = { oldest: await live.retention.floor(), newest: live.root.seq }
      const message = `what changed below ${shownKey(this.#key)} since ${seq} is not known any more, the oldest root is ${state.oldest}: watch with initial for all that is there`
      throw new TailraceError('ECOMPACTED', message, { cause: error, failed: { state } })
    }
  }

  #hold(treeobj: Treeobj): void {
    this.#holds?.push(this.#ports.store.spaces.past.holds.holdTreeobj(treeobj))
  }

  #letGo(): void {
    for (const hold of this.#holds ?? []) hold[Symbol.dispose]()
    this.#holds = undefined
  }
}

async function nextOf(differences: AsyncGenerator<Difference>): Promise<Difference | undefined> {
  const next = await differences.next()
  return next.done ? undefined : next.value
}

async function* nothing(): AsyncGenerator<never> {}

function refOf(treeobj: Treeobj | undefined): Blobref | undefined {
  return treeobj && statOf(treeobj, 0).ref
}

function madeAnew({ name }: LiveNamespace): TailraceError {
  const message = `the namespace ${name} was made anew since that position: watch with initial for all that is there`
  return new TailraceError('EOVERWRITTEN', message)
}
