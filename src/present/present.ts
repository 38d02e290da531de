/** The parts of a namespace's present that are in memory: the deadlines of its leases, the alarm
 *  for expiring keys, the last time marks of its logs. The tree `meta` has the rest. See rfc/9.
 *  Invariant: a lease or key that is due is removed by a transaction of the server's own, in the
 *  order of all others. */

import type { Environment } from '../base/environment.js'
import { isCode } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'
import { type ExpiryGroup, KeyExpiry, readFirstTime } from './expiry.js'
import { expiredLeasesMax, type GrantedLease, LeaseTable } from './lease-table.js'
import { type LeaseGroup, leasesMax, readLeases } from './leases.js'
import { type TimesGroup, TimesKnown } from './times.js'

/** A group, with the present of its namespace that is in memory. */
export type PresentGroup = LeaseGroup & ExpiryGroup & TimesGroup

type PresentPorts = {
  readonly environment: Environment
  readonly nodes: Nodes
  /** Returns the namespace's newest meta tree. */
  readonly meta: () => Promise<Dir>
  /** Commits the removal of the leases that are due. Throws ECANCELED where none is. */
  readonly expireLeases: () => Promise<unknown>
  /** Commits a time for leases whose records say none. Throws ECANCELED where there are none. */
  readonly dateLeases: () => Promise<unknown>
  /** Commits the removal of the keys that are due. Throws ECANCELED where none is. */
  readonly expireKeys: () => Promise<unknown>
}

/** The present of a namespace that is in memory. The commit loop owns it. */
export class Present implements Disposable {
  readonly leases: LeaseTable
  readonly expiry: KeyExpiry
  readonly times = new TimesKnown()
  readonly #nodes: Nodes
  readonly #meta: () => Promise<Dir>
  readonly #environment: Environment
  readonly #expireLeases: () => Promise<void>
  readonly #dateLeases: () => Promise<void>
  #stale = true

  constructor(ports: PresentPorts) {
    const { environment, nodes } = ports
    this.#nodes = nodes
    this.#meta = ports.meta
    this.#environment = environment
    this.#expireLeases = () => unlessCanceled(ports.expireLeases())
    this.#dateLeases = () => unlessCanceled(ports.dateLeases())
    this.leases = new LeaseTable(environment, this.#expireLeases)
    this.expiry = new KeyExpiry(environment, {
      first: async () => readFirstTime(nodes, await ports.meta()),
      expire: () => unlessCanceled(ports.expireKeys()),
    })
  }

  /** Loads the leases and the first expiry of the namespace. Leases that are over by then are
   *  removed before the first request is heard, since no renewal of them can be on its way (rfc/9,
   *  rule 9). Throws EDANGLING, ECORRUPT, EIO. */
  async open(): Promise<void> {
    await this.sync(await this.#meta())
    const { leases } = this
    leases.hearNobody()
    try {
      const rounds = Math.ceil(leasesMax / expiredLeasesMax)
      for (let at = 0; at < rounds && leases.due().length > 0; at++) await this.#expireLeases()
      if (leases.undated(this.#environment.now()).length > 0) await this.#dateLeases()
    } catch {
      // The commit failed. The store can be read all the same, and the timers try again.
    }
  }

  /** Makes the next `sync` read the meta tree again. Called where the root was moved by somebody
   *  else, or may have been. */
  lose(): void {
    this.#stale = true
  }

  /** Reads the leases and the first expiry of a committed meta tree, if they are not known. A
   *  failed read is not thrown: only transactions that need the damaged record meet it. */
  async sync(meta: Dir): Promise<void> {
    if (!this.#stale) return
    try {
      const leases: GrantedLease[] = []
      for await (const lease of readLeases(this.#nodes, meta)) leases.push(lease)
      this.leases.adopt(leases)
      const first = await readFirstTime(this.#nodes, meta)
      if (first !== undefined) this.expiry.by(first)
      this.#stale = false
    } catch {
      // Stays stale: the next group tries again.
    }
  }

  /** Stops the timers: no lease and no key expires any more. */
  [Symbol.dispose](): void {
    this.leases[Symbol.dispose]()
    this.expiry[Symbol.dispose]()
  }
}

/** Waits for a commit, and counts ECANCELED (nothing was due any more) as done. */
async function unlessCanceled(expiring: Promise<unknown>): Promise<void> {
  try {
    await expiring
  } catch (error) {
    if (!isCode(error, 'ECANCELED')) throw error
  }
}
