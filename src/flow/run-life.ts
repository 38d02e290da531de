/** The life of a run, as other processes see it: a lease that the run holds while it goes on, and the key
 *  at which it is asked to end. See rfc/26, rules 1 to 3.
 *  Invariant: the lease is held before the run's log begins, and is given back by the transaction that
 *  seals it. So whoever finds a log that is not sealed, and nobody who holds the lease, knows that the
 *  process of the run was killed. The lease fences nothing. */

import { hostname } from 'node:os'
import type { Lease } from '../api/lease.js'
import type { Store } from '../api/store.js'
import type { Op } from '../api/transaction.js'
import { onAbort } from '../base/abort.js'
import { shapeOf, text, within } from '../base/shape.js'
import { pack, unpack } from '../cache/packing.js'
import { isCode, TailraceError } from '../error.js'
import { namespaceOfFlow } from './place.js'

/** The time after which a killed run is known as such, in ms. */
const lifeTtlMs = 10_000
/** The time after which a request to end is removed, in ms. */
const requestTtlMs = 24 * 3_600_000

/** A request to end a run. */
type CancelRequest = {
  /** A text that says who asks. */
  readonly by: string
}

const request = within(shapeOf<CancelRequest>({ by: text }, ['by']))

/** Returns the key whose lease a run holds, and whose value asks it to end. */
export function lifeKey(run: string): string {
  return `cancel/${run}`
}

/** Returns the op that asks a run to end. */
export function requestOp(run: string, by: string): Op {
  const value = pack({ by } satisfies CancelRequest, 'a request to end a run')
  return { op: 'put', key: lifeKey(run), value, ttl: requestTtlMs }
}

/** The life. Mutable; owned by its run. */
export class RunLife implements AsyncDisposable {
  readonly #store: Store
  readonly #run: string
  readonly #namespace: string
  readonly #canceled = new AbortController()
  readonly #ended = new AbortController()
  #lease: Lease | undefined
  #watching: Promise<void> | undefined

  constructor({
    store,
    flow,
    run,
  }: {
    readonly store: Store
    readonly flow: string
    readonly run: string
  }) {
    this.#store = store
    this.#run = run
    this.#namespace = namespaceOfFlow(flow)
  }

  /** Aborts with ECANCELED when somebody asks the run to end. */
  get canceled(): AbortSignal {
    return this.#canceled.signal
  }

  /** Takes the lease, and watches for a request. REQUIRES: the namespace is there. */
  async begin(): Promise<void> {
    await this.#hold()
    // A watch that fails leaves a run that only its own process ends; what it writes fails by itself.
    this.#watching = this.#watch().catch(() => {})
  }

  /** Commits the last ops of the run, which give the lease back. */
  async finish(ops: readonly Op[]): Promise<void> {
    this.#ended.abort()
    let mayBeDone = false
    try {
      if (this.#lease) return void (await this.#lease.finish({ ops }, { exactlyOnce: true }))
    } catch (error) {
      mayBeDone = isCode(error, 'EUNKNOWN')
      if (!mayBeDone && !isCode(error, 'EFENCED')) throw error
    }
    // A run that lost its lease has a log all the same.
    const scope = { namespace: this.#namespace, exactlyOnce: true }
    await this.#store.commit({ ops }, scope).catch((error: unknown) => {
      if (!mayBeDone || !isCode(error, 'ESEALED')) throw error
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    await this.#watching
    await this.#lease?.release()
  }

  /** Takes the lease, again where it was lost: the machine may have slept. */
  async #hold(): Promise<void> {
    const lease = await this.#store.leases.take(lifeKey(this.#run), {
      ...{ namespace: this.#namespace, ttl: lifeTtlMs, exactlyOnce: true },
      ...{ owner: `${hostname()} pid ${process.pid}`.slice(0, 200), signal: this.#ended.signal },
    })
    this.#lease = lease
    onAbort(lease.signal, () => {
      if (this.#ended.signal.aborted) return
      this.#lease = undefined
      this.#hold().catch(() => {})
    })
  }

  async #watch(): Promise<void> {
    const events = this.#store.watch(lifeKey(this.#run), {
      ...{ mode: 'value', waitCreate: true, namespace: this.#namespace },
      signal: this.#ended.signal,
    })
    for await (const event of events) {
      if (event.type !== 'value') continue
      const asked = event.data && unpack(event.data, 'a request to end a run')
      const by = request.is(asked) ? (asked as CancelRequest).by : 'somebody'
      this.#canceled.abort(
        new TailraceError('ECANCELED', `the run ${this.#run} was canceled by ${by}`),
      )
      return
    }
  }
}
