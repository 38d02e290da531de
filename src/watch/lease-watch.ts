/** The lease events of one value watcher. See rfc/9, rules 11 and 12.
 *  Invariant: the first event is the state of the lease at the beginning. Each later one is a state
 *  that differs from the one before. A renewal is no event. */

import type { Token } from '../api/transaction.js'
import type { LeaseEvent } from '../api/watch.js'
import type { Root } from '../engine/engine.js'
import { isCode } from '../error.js'
import type { LiveNamespace } from '../past/namespace.js'
import type { GrantedLease } from '../present/lease-table.js'
import { readLease } from '../present/leases.js'
import type { Key } from '../treeobj/key.js'
import type { SeenRoot, WatchedStore } from './sights.js'

type State = { readonly token: Token; readonly owner: string | undefined } | undefined

/** Tells one watcher of the lease of its key. Mutable; owned by its watch. */
export class LeaseWatch {
  readonly #store: WatchedStore
  #told: { readonly state: State; readonly seq: number } | undefined

  constructor(store: WatchedStore) {
    this.#store = store
  }

  /** True if a state of the lease was told before. */
  get hasTold(): boolean {
    return this.#told !== undefined
  }

  /** Returns the event of a root; undefined if the state is the one that was told before. Throws
   *  ECORRUPT, EDANGLING, EIO. */
  async at(seen: SeenRoot): Promise<LeaseEvent | undefined> {
    return this.#tell(await this.#stateOf(seen), seen.root.seq)
  }

  /** Returns the event for a namespace that is not there: no lease in it is held. Undefined if no
   *  state was told yet, or if the lease was not held before. */
  gone(): LeaseEvent | undefined {
    return this.#told && this.#tell(undefined, this.#told.seq)
  }

  #tell(state: State, seq: number): LeaseEvent | undefined {
    const told = this.#told
    this.#told = { state, seq }
    if (told && sameToken(told.state?.token, state?.token)) return undefined
    if (!state) return { type: 'lease', seq, held: false }
    const { token, owner } = state
    return { type: 'lease', seq, held: true, token, ...(owner === undefined ? {} : { owner }) }
  }

  /** Reads the lease in the namespace that the key leads to. In another namespace than the watched
   *  one that is its newest root. */
  async #stateOf({ live, root, found }: SeenRoot): Promise<State> {
    const own = found.namespace === live.name
    const home = own ? live : this.#store.peekNamespace(found.namespace)
    if (!home) return undefined
    const lease = await this.#leaseOf(home, own ? root : home.root, found.key)
    if (!lease) return undefined
    return { token: { incarnation: home.record.incarnation, seq: lease.seq }, owner: lease.owner }
  }

  /** Reads a lease at a root. A collection keeps only the `meta` of the newest root: if that of an
   *  older root is gone, the lease at the newest root is read instead. */
  async #leaseOf(home: LiveNamespace, root: Root, key: Key): Promise<GrantedLease | undefined> {
    const { nodes } = this.#store
    try {
      return await readLease(nodes, (await home.trees(root)).meta, key)
    } catch (error) {
      if (!isCode(error, 'EDANGLING') || root === home.root) throw error
      return readLease(nodes, (await home.trees(home.root)).meta, key)
    }
  }
}

function sameToken(left: Token | undefined, right: Token | undefined): boolean {
  return left?.seq === right?.seq && left?.incarnation === right?.incarnation
}
