/** Renews the leases of a client in a thread, which runs no user code and has a connection of its
 *  own. So a program that computes for minutes without a turn of its event loop keeps its leases.
 *  See rfc/9, rule 20.
 *  Invariant: the thread is started by the first lease, keeps no process alive, and ends with the
 *  client. Where it cannot run, leases are renewed in the event loop of the client. */

import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ConnectOptions } from '../api/connect.js'
import { defined } from '../base/shape.js'
import { parseCode, TailraceError } from '../error.js'
import {
  type Renew,
  type Renewal,
  renewInLoop,
  type TakenLease,
  type Told,
} from '../store/renewal.js'
import type { LeaseKeeper } from './client.js'

/** The server of the thread: an address, and options of `connect`. */
export type ThreadData = {
  readonly target: string
  readonly options: Pick<ConnectOptions, 'token' | 'ca'> & { readonly storeId: string }
}

/** A message to the thread: keep a lease, or end that. The lease has the time of its take by
 *  `process.hrtime`, in ns, since threads have clocks of their own in `performance.now()`.
 *  `until`: 8 bytes, the time until which the lease is held, on the same clock. */
export type ToThread =
  | {
      readonly type: 'keep'
      readonly id: number
      readonly lease: Omit<TakenLease, 'sent'> & { readonly sent: bigint }
      readonly until: BigInt64Array
    }
  | { readonly type: 'end'; readonly id: number }

/** Messages to the thread go together: all of one turn are one. */
export type ManyToThread = readonly ToThread[]

/** A message of the thread: a lease was renewed, or is lost. */
export type FromThread =
  | { readonly type: 'renewed'; readonly id: number }
  | { readonly type: 'lost'; readonly id: number; readonly code: string; readonly message: string }

type Kept = {
  readonly taken: TakenLease
  readonly told: Told
  readonly until: BigInt64Array
  /** Renews the lease in the event loop, once the thread has failed. */
  inLoop: Renewal | undefined
}

/** Returns what renews the leases of a client of `target` in a thread. */
export function leaseThread(
  target: string,
  { token, ca }: Pick<ConnectOptions, 'token' | 'ca'>,
): LeaseKeeper {
  const thread = new LeaseThread()
  return {
    renewing: (kvs, storeId) => {
      const server = () => ({
        target,
        options: { ...defined({ token, ca }), storeId: storeId() },
      })
      return (taken, told) => thread.keep(taken, told, { server, renew: renewInLoop(kvs) })
    },
    close: () => thread.close(),
  }
}

/** The number of leases whose times share memory. */
const timesAtOnce = 256
const timeSize = 8

class LeaseThread {
  readonly #kept = new Map<number, Kept>()
  /** Memory of the times until which leases are held, of which `#timesUsed` are given away. */
  #times = new SharedArrayBuffer(0)
  #timesUsed = timesAtOnce
  /** The messages that are sent at the end of this turn. */
  #outbox: ToThread[] = []
  #worker: Worker | undefined
  #hasFailed = false
  #closed = false
  #lastId = 0

  keep(
    taken: TakenLease,
    told: Told,
    { server, renew }: { readonly server: () => ThreadData; readonly renew: Renew },
  ): Renewal {
    if (!this.#started(server, renew)) return renew(taken, told)
    const id = ++this.#lastId
    const { sent, ...lease } = taken
    const until = this.#newTime()
    until[0] = clockOf(sent + taken.ttl)
    const kept: Kept = { taken, told, until, inLoop: undefined }
    this.#kept.set(id, kept)
    this.#send({ type: 'keep', id, lease: { ...lease, sent: clockOf(sent) }, until })
    return {
      until: () => kept.inLoop?.until() ?? timeOf(Atomics.load(until, 0)),
      end: async () => {
        if (!this.#kept.delete(id)) return
        if (kept.inLoop) await kept.inLoop.end()
        else this.#send({ type: 'end', id })
      },
    }
  }

  close(): void {
    this.#closed = true
    void this.#worker?.terminate() // it never rejects
    this.#worker = undefined
  }

  /** Returns the thread, which it starts if need be; undefined where it cannot run. */
  #started(server: () => ThreadData, renew: Renew): Worker | undefined {
    if (this.#worker || this.#closed || this.#hasFailed) return this.#worker
    const extension = extname(import.meta.url)
    const file = new URL(`./lease-worker${extension}`, import.meta.url)
    // No preloads of the program run in the thread. From the sources it needs what loads TypeScript.
    const loading = extension === '.ts' ? {} : { execArgv: [] }
    try {
      const worker = new Worker(file, { ...loading, workerData: server(), name: 'tailrace leases' })
      worker.unref()
      worker.on('message', (message: FromThread) => this.#take(message))
      const failed = () => this.#fail(worker, renew)
      worker.on('error', failed)
      worker.once('exit', failed)
      this.#worker = worker
    } catch {
      this.#hasFailed = true // threads are not permitted
    }
    return this.#worker
  }

  #newTime(): BigInt64Array {
    if (this.#timesUsed === timesAtOnce) {
      this.#times = new SharedArrayBuffer(timesAtOnce * timeSize)
      this.#timesUsed = 0
    }
    return new BigInt64Array(this.#times, this.#timesUsed++ * timeSize, 1)
  }

  /** Sends a message with the others of this turn, before the program goes on that has taken a lease: it
   *  may hold the event loop up then. */
  #send(message: ToThread): void {
    this.#outbox.push(message)
    if (this.#outbox.length > 1) return
    queueMicrotask(() => {
      const messages: ManyToThread = this.#outbox
      this.#outbox = []
      this.#worker?.postMessage(messages)
    })
  }

  #take(message: FromThread): void {
    const kept = this.#kept.get(message.id)
    if (!kept) return
    if (message.type === 'renewed') {
      kept.told.renewed(timeOf(Atomics.load(kept.until, 0)))
    } else {
      this.#kept.delete(message.id)
      kept.told.lost(new TailraceError(parseCode(message.code) ?? 'EIO', message.message))
    }
  }

  /** Renews in the event loop all leases that the thread kept. */
  #fail(worker: Worker, renew: Renew): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#hasFailed = true
    for (const kept of this.#kept.values()) {
      // Renews as soon as possible: the thread may have failed a while ago.
      const sent = timeOf(Atomics.load(kept.until, 0)) - kept.taken.ttl
      kept.inLoop = renew({ ...kept.taken, sent }, kept.told)
    }
  }
}

/** Returns a time of `performance.now()` on the clock that all threads share, in ns. */
export function clockOf(time: number): bigint {
  return process.hrtime.bigint() + BigInt(Math.round((time - performance.now()) * 1e6))
}

/** Returns a time of the shared clock as one of `performance.now()` in this thread, in ms. */
export function timeOf(clock: bigint): number {
  return performance.now() + Number(clock - process.hrtime.bigint()) / 1e6
}
