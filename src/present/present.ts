/** The present of a namespace in memory: until when its leases are held, when keys expire next, when its logs were
 *  marked last. What it has besides is in the tree `meta`. See rfc/6 and rfc/9.
 *  Invariant: two timers a namespace at most, each for the nearest time; what is due is removed by a
 *  transaction of the server's own, in the order of all others. */

import type { Environment } from '../base/environment.js'
import { isCode } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { type ExpiryGroup, KeyExpiry, readFirstTime } from './expiry.js'
import { expiredLeasesMax, type GrantedLease, LeaseTable } from './lease-table.js'
import { type LeaseGroup, leasesMax, readLeases } from './leases.js'
import { type TimesGroup, TimesKnown } from './times.js'

/** A group, with what its namespace's present knows in memory. */
export type PresentGroup = LeaseGroup & ExpiryGroup & TimesGroup

export type PresentPorts = {
  readonly environment: Environment
  readonly nodes: Nodes
  /** The namespace's newest meta tree. */
  readonly meta: () => Promise<Dir>
  /** Commits the removal of what is due. ECANCELED: nothing was. */
  readonly expireLeases: () => Promise<unknown>
  /** Commits the time from which leases count whose records do not say it. ECANCELED: there are none. */
  readonly dateLeases: () => Promise<unknown>
  readonly expireKeys: () => Promise<unknown>
}

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
    this.#expireLeases = () => anyOf(ports.expireLeases())
    this.#dateLeases = () => anyOf(ports.dateLeases())
    this.leases = new LeaseTable(environment, this.#expireLeases)
    this.expiry = new KeyExpiry(environment, {
      first: async () => readFirstTime(nodes, await ports.meta()),
      expire: () => anyOf(ports.expireKeys()),
    })
  }

  /** Begins with what the namespace has. A lease whose time has passed meanwhile is gone before the first
   *  request comes: nobody was there to hear a renewal, and whoever held it knows that its time is over. Throws
   *  EDANGLING, ECORRUPT, EIO. */
  async open(): Promise<void> {
    await this.sync(await this.#meta())
    const { leases } = this
    leases.hearNobody()
    try {
      const rounds = Math.ceil(leasesMax / expiredLeasesMax)
      for (let at = 0; at < rounds && leases.due().length > 0; at++) await this.#expireLeases()
      if (leases.undated(this.#environment.now()).length > 0) await this.#dateLeases()
    } catch {
      // It could not be stored: the store is readable all the same, and the timers try again.
    }
  }

  /** The root was moved by somebody else, or it is not known by whom: `sync` must look again. */
  lose(): void {
    this.#stale = true
  }

  /** Takes over what a committed meta tree has, where that is not known. A record that cannot be read
   *  is met by the transactions that need it, not by all. */
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
      // Stays stale.
    }
  }

  /** Nothing ends by itself any more. */
  [Symbol.dispose](): void {
    this.leases[Symbol.dispose]()
    this.expiry[Symbol.dispose]()
  }
}

/** Nothing was due any more: as good as done. */
async function anyOf(expiring: Promise<unknown>): Promise<void> {
  try {
    await expiring
  } catch (error) {
    if (!isCode(error, 'ECANCELED')) throw error
  }
}
