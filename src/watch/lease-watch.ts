/** What a value watcher that asked for leases is told of its key's lease. See rfc/9.
 *  Invariant: the state at first, then each other state that some root had; a renewal is none. */

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

export class LeaseWatch {
  readonly #store: WatchedStore
  #told: { readonly state: State; readonly seq: number } | undefined

  constructor(store: WatchedStore) {
    this.#store = store
  }

  /** Undefined where nothing is new. Throws ECORRUPT, EDANGLING, EIO. */
  async at(seen: SeenRoot): Promise<LeaseEvent | undefined> {
    return this.#tell(await this.#stateOf(seen), seen.root.seq)
  }

  /** The namespace is not there: nothing in it is held. */
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

  /** A key in another namespace has its lease there, as it is now. */
  async #stateOf({ live, root, found }: SeenRoot): Promise<State> {
    const own = found.namespace === live.name
    const home = own ? live : this.#store.peekNamespace(found.namespace)
    if (!home) return undefined
    const lease = await this.#leaseOf(home, own ? root : home.root, found.key)
    if (!lease) return undefined
    return { token: { incarnation: home.record.incarnation, seq: lease.seq }, owner: lease.owner }
  }

  /** A collection keeps the `meta` of the newest root only: who comes too late for an older one's is told what
   *  holds now. */
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
