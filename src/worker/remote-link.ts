/** The scheduler's end of a link to a worker that has joined a store. See rfc/25, rules 21 to 24.
 *  Invariant: the scheduler holds the lease of the session as long as the link is not gone, and all that it
 *  writes is guarded by it. The worker is taken for dead when its own lease has ended, and for gone when
 *  its offer has. */

import type { Lease } from '../api/lease.js'
import type { Store } from '../api/store.js'
import { onAbort, quietEnd } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { Wakeup } from '../base/wakeup.js'
import { type Code, isCode, reasonOf } from '../error.js'
import type { Envelope } from './batches.js'
import {
  isBytes,
  type LinkPorts,
  type MessagePart,
  type PlacedInput,
  type PlacedPart,
  type WorkerLink,
} from './link.js'
import {
  type Offer,
  offerKey,
  type SessionKeys,
  sessionKeys,
  sweep,
  workersNamespace,
} from './offers.js'
import { messagesOf, Outlet, type RemoteEnvelope, withBytes } from './remote-log.js'

/** Codes of a copy that cannot be made: the value is elsewhere by now, or its root is not retained. */
const passing: readonly Code[] = ['ECOMPACTED', 'ENOENT', 'ENONS', 'EISDIR']
/** The time for which results are kept whose session has ended, in ms. */
const releaseMsMax = 10_000

/** A worker that was taken. */
export type TakenWorker = {
  readonly store: Store
  readonly offer: Offer
  /** The lease of the session. */
  readonly lease: Lease
}

/** The link. Mutable; owned by the member of a pool. */
export class RemoteLink implements WorkerLink {
  readonly kind = 'remote'
  readonly store: Store
  readonly gone: Promise<void>
  readonly #taken: TakenWorker
  readonly #ports: LinkPorts
  readonly #keys: SessionKeys
  readonly #outlet: Outlet
  readonly #ending = new AbortController()
  #placed = 0
  /** The keys of results that were not released. */
  readonly #results = new Set<string>()
  readonly #released = new Wakeup()
  #end: { readonly why: string; readonly isLeave: boolean } | undefined

  constructor(taken: TakenWorker, ports: LinkPorts) {
    const { store, offer, lease } = taken
    this.store = store
    this.#taken = taken
    this.#ports = ports
    this.#keys = sessionKeys(offer.id, lease.token)
    const { calls: key, answers: reads } = this.#keys
    const { signal } = this.#ending
    this.#outlet = new Outlet({
      ...{ store, key, reads, tellsHashes: false, guards: [lease.guard], signal },
      failed: (error) => this.#endBy(`it cannot be reached: ${reasonOf(error)}`),
    })
    this.gone = this.#serve()
  }

  get pid(): number {
    return this.#taken.offer.pid
  }

  send(batch: readonly Envelope<MessagePart>[]): void {
    this.#outlet.send({ type: 'batch', envelopes: batch })
  }

  async place({ store, key: from, namespace, at }: PlacedInput): Promise<PlacedPart | undefined> {
    if (store !== this.store) return undefined
    const { lease } = this.#taken
    const key = `${this.#keys.directory}/placed-${this.#placed++}`
    const scope = { namespace: workersNamespace, exactlyOnce: true, signal: this.#ending.signal }
    const op = { op: 'copy', key, from, namespace, ...(at !== undefined && { at }) } as const
    try {
      await this.store.commit({ guards: [lease.guard], ops: [op] }, scope)
    } catch (error) {
      // Who has the value loads it then, or says why it is gone.
      if (passing.some((code) => isCode(error, code))) return undefined
      if (this.#ending.signal.aborted) return undefined
      throw error
    }
    return { key, namespace: workersNamespace }
  }

  release({ key }: PlacedPart): void {
    this.#outlet.remove(key)
    this.#results.delete(key)
    this.#released.wake()
  }

  takeBack(seqs: readonly number[]): void {
    this.#outlet.send({ type: 'take', seqs })
  }

  /** Ends the session, at which the worker ends the process that calls functions. */
  kill(): void {
    this.#endBy('its session was ended', true)
  }

  #endBy(why: string, isLeave = false): void {
    this.#end ??= { why, isLeave }
    this.#ending.abort(quietEnd)
  }

  /** Reads what the worker sends, until the session ends. Never throws. */
  async #serve(): Promise<void> {
    const { store, offer, lease } = this.#taken
    // An offer stands for a worker that is ready.
    queueMicrotask(() => this.#ports.received([{ body: { type: 'ready' }, parts: [] }]))
    const end = onAbort(lease.signal, () => this.#endBy('its scheduler was not heard in time'))
    const failed = (error: unknown) => this.#endBy(`it cannot be heard: ${reasonOf(error)}`)
    const left = (error: unknown) => {
      if (isCode(error, 'ENOENT')) this.#endBy('it has left', true)
      else failed(error)
    }
    await Promise.all([this.#read().catch(failed), this.#watchLife().catch(left)])
    end()
    const { why, isLeave } = this.#end ?? { why: 'its link ended', isLeave: false }
    this.#ports.ended(why, isLeave)
    await this.#allReleased()
    // All that was sent in the session goes with it.
    const { directory } = this.#keys
    await lease.finish({ ops: [{ op: 'unlink', key: directory, recursive: true }] }).catch(() => {})
    await lease.release()
    const life = store.leases.show(offerKey(offer.id), { namespace: workersNamespace })
    if (!(await life.catch(() => ({ held: true }))).held) await sweep(store, offer.id)
  }

  async #read(): Promise<void> {
    const { store } = this.#taken
    const { signal } = this.#ending
    const hasRead = (entries: number) => this.#outlet.hasRead(entries)
    for await (const message of messagesOf(store, this.#keys.answers, signal, hasRead)) {
      if (message.type === 'batch') {
        const received: Envelope<MessagePart>[] = []
        for (const envelope of message.envelopes) received.push(await this.#opened(envelope))
        this.#ports.received(received)
      } else if (message.type === 'took') this.#ports.tookBack(message.seqs)
      else if (message.type === 'ended') {
        this.#endBy(message.why, message.isLeave)
        return
      }
    }
  }

  /** Returns a message with its bytes. A result stays where it is. */
  async #opened(envelope: RemoteEnvelope): Promise<Envelope<MessagePart>> {
    const { body, parts } = envelope
    const placed = parts.flatMap((part) => (isBytes(part) ? [] : [part.key]))
    if (placed.length === 0) return envelope
    if ((body as { readonly type?: unknown }).type === 'done') {
      for (const key of placed) this.#results.add(key)
      return envelope
    }
    const fetched = ({ key }: PlacedPart) => this.#outlet.remove(key)
    const all = await withBytes(this.store, [envelope], fetched, this.#ending.signal)
    return all[0] ?? envelope
  }

  /** Waits until nobody needs results of the session any more. */
  async #allReleased(): Promise<void> {
    const late = new AbortController()
    const end = startTimer(releaseMsMax, () => late.abort())
    for (;;) {
      const seen = this.#released.count
      if (this.#results.size === 0 || late.signal.aborted) break
      await this.#released.wait(seen, late.signal).catch(() => {})
    }
    end()
  }

  /** Ends the link once the worker does not hold its lease any more. */
  async #watchLife(): Promise<void> {
    const { store, offer } = this.#taken
    const { signal } = this.#ending
    const scope = { namespace: workersNamespace, signal }
    const key = offerKey(offer.id)
    const events = store.watch(key, { mode: 'value', lease: true, waitCreate: true, ...scope })
    for await (const event of events) {
      if (event.type !== 'lease' || (event.held && event.token?.seq === offer.token.seq)) continue
      const isThere = await store.stat(key, scope)
      this.#endBy(
        isThere ? 'it was not heard in time: it has died, or is cut off' : 'it has left',
        !isThere,
      )
      return
    }
  }
}
