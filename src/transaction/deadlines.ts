/** What of a namespace ends by itself, and when it is looked at: its leases and the keys that expire.
 *  See rfc/9.
 *  Invariant: two timers a namespace at most, each for the nearest time; what is due is removed by a
 *  transaction of the server's own, in the order of all others. */

import type { Environment } from '../base/environment.js'
import { isCode } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { Alarm } from './alarm.js'
import { readFirstTime } from './expiry-record.js'
import { leasesMax } from './lease-action.js'
import { type Lease, readLeases } from './lease-record.js'
import { expiredLeasesMax, expiryRetryMs, LeaseTable } from './lease-table.js'

/** The wall clock may be set, and goes on while a machine sleeps: it is looked at again after so long. */
export const wallLookMs = 10 * 60_000

export type DeadlinesPorts = {
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

export class Deadlines implements Disposable {
  readonly leases: LeaseTable
  readonly expiry: KeyExpiry
  readonly #nodes: Nodes
  readonly #meta: () => Promise<Dir>
  readonly #environment: Environment
  readonly #expireLeases: () => Promise<void>
  readonly #dateLeases: () => Promise<void>
  #stale = true

  constructor(ports: DeadlinesPorts) {
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
      const leases: Lease[] = []
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

export class KeyExpiry implements Disposable {
  readonly #now: () => number
  /** The first time in the index. */
  readonly #first: () => Promise<number | undefined>
  readonly #expire: () => Promise<unknown>
  readonly #alarm: Alarm

  constructor(
    { now, timer }: Environment,
    ports: {
      readonly first: () => Promise<number | undefined>
      readonly expire: () => Promise<unknown>
    },
  ) {
    this.#now = now
    this.#first = ports.first
    this.#expire = ports.expire
    const ring = () => void this.#submit()
    this.#alarm = new Alarm(timer, { clock: now, ring, waitMsMax: wallLookMs })
  }

  /** A key was filed there. */
  by(at: number): void {
    this.#alarm.by(at)
  }

  [Symbol.dispose](): void {
    this.#alarm[Symbol.dispose]()
  }

  async #submit(): Promise<void> {
    try {
      await this.#expire()
      const first = await this.#first()
      if (first !== undefined) this.#alarm.by(first)
    } catch {
      // Closed, or it could not be stored.
      this.#alarm.by(this.#now() + expiryRetryMs)
    }
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
