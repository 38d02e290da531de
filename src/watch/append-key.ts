/** A key that its append watchers share. It looks at each root of the key once, and tells one
 *  history of the key from the next. See rfc/7, rules 8 and 9.
 *  Invariant: `history` is the newest history of the key, or `absence` says why there is none. */

import { Wakeup } from '../base/wakeup.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { type AppendArray, arrayOf } from '../tree/array.js'
import { isPrefix } from '../tree/array-read.js'
import type { Nodes } from '../tree/nodes.js'
import { type Base, baseOf, compacted, type Treeobj } from '../treeobj/treeobj.js'
import { type Keep, KeyHistory } from './history.js'
import type { Sight, Sights } from './sights.js'

/** The sights of a key. */
type KeySights = Pick<Sights, 'next' | 'isMarked'> &
  Disposable & { readonly follower: { onMark: (() => void) | undefined } }

export class AppendKey {
  /** Wakes when a new history begins, and when the reason why there is none changes. */
  readonly changed = new Wakeup()
  readonly #key: string
  readonly #nodes: Nodes
  readonly #monotonic: () => number
  readonly #keep: Keep
  #history: KeyHistory | undefined
  #absence: TailraceError | undefined
  /** The type of the newest treeobj. A log that turns into an inline value has been overwritten. */
  #type: Treeobj['type'] | undefined
  #isLooking = false
  #isStopped = false
  /** Ends the following. */
  #end: () => void = () => {}

  constructor(key: string, nodes: Nodes, monotonic: () => number, keep: Keep) {
    this.#keep = keep
    this.#key = key
    this.#nodes = nodes
    this.#monotonic = monotonic
  }

  /** The newest history. Undefined if there is none, or if no root was looked at yet. */
  get history(): KeyHistory | undefined {
    return this.#history
  }

  /** The reason why there is no history: ENOENT, EISDIR, ENONS, or the error that ended the
   *  sights. */
  get absence(): TailraceError | undefined {
    return this.#absence
  }

  /** Follows the key, until `stop` or until a lookup fails. Calls `ended` then. While there is nothing to
   *  see, only the follower's callback stands: there may be very many keys. */
  follow(sights: KeySights, ended: () => void): void {
    const look = () => {
      if (this.#isLooking) return
      this.#isLooking = true
      void this.#look(sights)
    }
    sights.follower.onMark = look
    this.#end = () => {
      sights.follower.onMark = undefined
      sights[Symbol.dispose]()
      this.#history?.release()
      ended()
    }
    look()
  }

  /** Lets collections free the history. REQUIRES: the key has no watcher any more. */
  stop(): void {
    this.#isStopped = true
    if (!this.#isLooking) this.#end()
  }

  /** Looks until there is nothing to see. Never throws. */
  async #look(sights: KeySights): Promise<void> {
    await undefined // who marks the follower goes on first
    try {
      do {
        for (;;) {
          const sight = this.#isStopped ? undefined : await sights.next()
          if (!sight || this.#isStopped) break
          await this.#observe(sight)
        }
      } while (sights.isMarked && !this.#isStopped)
      // No await may come between the last look at the marks and this line.
      this.#isLooking = false
      if (this.#isStopped) this.#end()
    } catch (error) {
      this.#lose(toTailraceError(error))
      this.#end()
    }
  }

  async #observe(sight: Sight): Promise<void> {
    if ('gone' in sight) return this.#lose(sight.gone)
    const { live, root, found } = sight
    const { treeobj } = found
    if (!treeobj || treeobj.type === 'symlink') {
      return this.#lose(new TailraceError('ENOENT', `${this.#key} is not there`))
    }
    if (treeobj.type === 'dir') {
      return this.#lose(
        new TailraceError('EISDIR', `${this.#key} is a directory: watch a key in it`),
      )
    }
    const array = await arrayOf(this.#nodes, treeobj)
    const base = baseOf(treeobj)
    const sealed = treeobj.attrs?.sealed === true
    const resolved = `${found.namespace}/${found.key}`
    const history = this.#history
    const before = this.#type
    let ending: TailraceError | undefined
    this.#type = treeobj.type
    if (
      history &&
      history.resolved === resolved &&
      !(before === 'valref' && treeobj.type === 'val')
    ) {
      const extended = await this.#isExtended(history, { array, base })
      if (extended === true) {
        const trimmed = base.count !== history.base.count
        if (array.count !== history.array.count || sealed !== history.sealed || trimmed) {
          history.extend({ array, base, seq: root.seq, sealed, treeobj })
        } else history.seen(root.seq)
        return
      }
      if (extended === 'unknown') ending = compacted(`what ${this.#key} had`, base)
    }
    const next = new KeyHistory({
      incarnation: live.record.incarnation,
      resolved,
      array,
      base,
      seq: root.seq,
      sealed,
      inline: treeobj.type === 'val' ? treeobj.data : undefined,
      treeobj,
      keep: this.#keep,
    })
    this.#replace(next, ending)
  }

  /** Returns true if the array at a newer root extends the history. Returns `unknown` if it cannot
   *  be told: a trim dropped all blobs of the history, and the nodes that would prove it are
   *  gone. */
  async #isExtended(
    history: KeyHistory,
    { array, base }: { readonly array: AppendArray; readonly base: Base },
  ): Promise<boolean | 'unknown'> {
    try {
      return await isPrefix(this.#nodes, history.array, array)
    } catch (error) {
      if (history.array.count < base.count && isCode(error, 'EDANGLING')) return 'unknown'
      throw error
    }
  }

  #replace(next: KeyHistory, reason: TailraceError | undefined): void {
    const overwritten = new TailraceError(
      'EOVERWRITTEN',
      `${this.#key} was overwritten: what follows is another history, watch it anew`,
    )
    this.#history?.end(reason ?? overwritten, this.#monotonic())
    this.#history = next
    this.#absence = undefined
    this.changed.wake()
  }

  #lose(reason: TailraceError): void {
    const same = this.#history === undefined && this.#absence?.code === reason.code
    this.#history?.end(reason, this.#monotonic())
    this.#history = undefined
    this.#absence = reason
    this.#type = undefined
    // Thousands of watchers may wait for the key. A key that is still missing wakes none of them.
    if (!same) this.changed.wake()
  }
}
