/** Held claims, and how they publish. See rfc/22, rules 9 and 12.
 *  Invariant: a result appears whole, in the transaction that ends its claim. That transaction is
 *  guarded by the lease: who has lost it publishes nothing. */

import { hostname } from 'node:os'
import {
  type Claim,
  type Hit,
  type OneOutput,
  type Outputs,
  onlyOutput,
  outputsMax,
} from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import type { Lease } from '../api/lease.js'
import {
  type Guard,
  type Op,
  type Token,
  transactionSizeMax,
  type Value,
} from '../api/transaction.js'
import { onAbort } from '../base/abort.js'
import { bytesOf, invalid } from '../base/shape.js'
import { pause } from '../base/timer.js'
import { type Code, isCode, TailraceError } from '../error.js'
import type { PackedAction } from './action.js'
import type { Flight } from './flights.js'
import { readRecord, StoredHit, sameToken } from './hit.js'
import { removalOp } from './layer.js'
import {
  actionKey,
  encodeRecord,
  inlineActionMax,
  inlineSizeMax,
  nameInKey,
  type OutputRecord,
  outputKey,
  type ResultRecord,
  recordKey,
  StoredElsewhere,
  stagedDirectory,
  stagedKey,
  unlinkOps,
} from './record.js'
import type { Publishes } from './together.js'
import { hourOf } from './use-index.js'

/** The time after which an output goes that was stored for a claim and not published, in ms. */
const stagedTtl = 24 * 3_600_000
/** The part of a transaction that outputs may have, in bytes: the action, the record and the event
 *  need the rest. */
const directSizeMax = transactionSizeMax / 2

/** The number of times that bytes are sent to be stored, and the wait behind the first time, in ms. It is
 *  doubled each time: a server that was started again is there by then. */
const [storeTriesMax, storeRetryMs] = [7, 100]
/** Codes of a put that may succeed if it is sent again. */
const passing: readonly Code[] = ['ECLOSED', 'EUNKNOWN', 'ETIMEDOUT', 'EBUSY']

type PublishPorts = {
  readonly kvs: Kvs
  readonly publishes: Publishes
  readonly layers: readonly [string, ...string[]]
  readonly owner: string | undefined
  readonly code: string | undefined
  readonly onPublish: () => void
}

/** The lease of a claim, since when it is held (wall clock), if it replaces a result, and the flight
 *  that lands when it ends. */
type Held = {
  readonly lease: Lease
  readonly started: number
  readonly again: boolean
  readonly flight: Flight
}

/** An output whose bytes are where the last transaction finds them: in the record, in the
 *  transaction, or stored under a key of their own. */
type Placed =
  | {
      readonly at: 'elsewhere'
      readonly size: number
      readonly from: { readonly from: string; readonly namespace: string }
    }
  | { readonly at: 'record' | 'transaction'; readonly size: number; readonly bytes: Uint8Array }
  | { readonly at: 'stored'; readonly size: number }

/** A claim that is held. */
export class HeldClaim implements Claim {
  readonly type = 'claimed'
  readonly id: string
  readonly #ports: PublishPorts
  readonly #action: PackedAction
  readonly #held: Held
  #started: number
  /** True if something was stored for the claim that is not published. */
  #hasStored = false
  /** The number of calls under way that may end the claim, and then land its flight. */
  #ending = 0

  constructor(ports: PublishPorts, action: PackedAction, held: Held) {
    this.id = action.id
    this.#ports = ports
    this.#action = action
    this.#held = held
    this.#started = held.started
    onAbort(held.lease.signal, () => this.#landIfEnded())
  }

  get token(): Token {
    return this.#held.lease.token
  }

  get guard(): Guard {
    return this.#held.lease.guard
  }

  get signal(): AbortSignal {
    return this.#held.lease.signal
  }

  begin(): void {
    this.#started = Date.now()
  }

  async publish(outputs: Outputs): Promise<Hit> {
    this.#ending++
    try {
      return await this.#publish(outputs)
    } finally {
      this.#ending--
      this.#landIfEnded()
    }
  }

  async abandon(): Promise<void> {
    this.#ending++
    try {
      await this.#abandon()
    } finally {
      this.#ending--
      this.#landIfEnded()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.abandon()
  }

  /** Lands the flight without a result if the lease has gone, unless a call knows better. */
  #landIfEnded(): void {
    const { lease, flight } = this.#held
    if (this.#ending === 0 && lease.signal.aborted) flight.land()
  }

  async #publish(outputs: Outputs): Promise<Hit> {
    const named = namedOutputs(outputs)
    const placed = new Map<string, Placed>()
    const room = { record: inlineSizeMax, transaction: directSizeMax }
    for (const [name, output] of named) placed.set(name, await this.#place(name, output, room))
    const record = this.#recordOf(placed)
    const { kvs, layers } = this.#ports
    const { again } = this.#held
    const { id } = this
    const absent: Guard = { key: recordKey(id), absent: true }
    const seq = await this.#finish(again ? [] : [absent], this.#opsOf(placed, record), record)
    this.#hasStored = false
    this.#held.flight.land({ record, seq })
    this.#ports.onPublish()
    return new StoredHit(kvs, { id, layer: layers[0], seq }, record)
  }

  /** Commits the last transaction. Returns a seq of the layer at which the result is there. */
  async #finish(
    guards: readonly Guard[],
    ops: readonly Op[],
    { outputs, used: hour, tookMs }: ResultRecord,
  ): Promise<number> {
    const { id, token } = this
    const size = Object.values(outputs).reduce((sum, output) => sum + output.size, 0)
    try {
      return await this.#ports.publishes.publish({
        ...{ lease: this.#held.lease, guards, ops, size: sizeOf(ops) },
        ...{ use: { id, token }, hour, event: { action: id, size, tookMs } },
      })
    } catch (error) {
      if (!isCode(error, 'EUNKNOWN')) throw this.#refused(error)
      return await this.#published(error)
    }
  }

  /** Returns the seq of the layer, if its record is the one of this claim. Throws EFENCED (it is
   *  another one, or the publish was refused), EUNKNOWN. */
  async #published(unknown: TailraceError): Promise<number> {
    const { kvs, layers } = this.#ports
    const look = readRecord(kvs, layers[0], this.id)
    const found = await look.catch(() => {
      throw unknown
    })
    if (found && sameToken(found.record.token, this.token)) return found.seq
    throw found || isCode(unknown.cause, 'ECONFLICT') ? this.#lost(unknown) : unknown
  }

  async #abandon(): Promise<void> {
    const { lease } = this.#held
    if (this.#hasStored && !lease.signal.aborted) {
      // If this fails, the outputs go when their ttl ends.
      const ops: Op[] = [{ op: 'unlink', key: stagedDirectory(this), recursive: true }]
      await lease.finish({ ops }).catch(() => {})
    }
    await lease.release()
  }

  /** Says where the bytes of an output go, and stores those that are too large for the
   *  transaction. */
  async #place(
    name: string,
    output: OneOutput,
    room: { record: number; transaction: number },
  ): Promise<Placed> {
    if (output instanceof StoredElsewhere) {
      const { key: from, namespace, size } = output
      return { at: 'elsewhere', size, from: { from, namespace } }
    }
    const bytes = typeof output === 'string' ? Buffer.from(output) : output
    const size = bytes instanceof Uint8Array ? bytes.length : Number.POSITIVE_INFINITY
    if (bytes instanceof Uint8Array && size <= room.record) {
      room.record -= size
      // Hits of this process read this record: the caller may use its bytes again.
      return { at: 'record', size, bytes: Uint8Array.from(bytes) }
    }
    if (bytes instanceof Uint8Array && size <= room.transaction) {
      room.transaction -= size
      return { at: 'transaction', size, bytes }
    }
    this.#hasStored = true
    if (bytes instanceof Uint8Array) await this.#storeBytes(name, bytes)
    else if (!isStream(bytes)) throw noOutput(`the output ${JSON.stringify(name)}`)
    else return { at: 'stored', size: await this.#store(name, bytesOf(bytes)) }
    return { at: 'stored', size }
  }

  /** Stores bytes for the last transaction, and sends them again where nobody can tell if they were stored:
   *  to compute them again would take longer. */
  async #storeBytes(name: string, bytes: Uint8Array): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#store(name, once(bytes))
        return
      } catch (error) {
        const isPassing = passing.some((code) => isCode(error, code))
        if (!isPassing || tries === storeTriesMax || this.signal.aborted) throw error
      }
      // A lost claim ends the wait; then the next try throws EFENCED.
      await pause(storeRetryMs * 2 ** (tries - 1), this.signal).catch(() => {})
    }
  }

  /** Stores an output for the last transaction, and returns its size. */
  async #store(name: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
    const { lease } = this.#held
    const count = { size: 0 }
    try {
      await this.#ports.kvs.put(stagedKey(this, name), counted(bytes, count), {
        ...{ namespace: lease.namespace, ttl: stagedTtl, guards: [this.guard] },
        signal: this.signal,
      })
    } catch (error) {
      throw this.#refused(error)
    }
    return count.size
  }

  #opsOf(placed: ReadonlyMap<string, Placed>, record: ResultRecord): Op[] {
    const { id } = this
    const outputs = [...placed].flatMap(([name, output]): Op[] => {
      if (output.at === 'record') return []
      const key = outputKey(id, name)
      if (output.at === 'elsewhere') return [{ op: 'copy', key, ...output.from }]
      if (output.at === 'transaction') return [{ op: 'put', key, value: output.bytes }]
      return [{ op: 'move', key, from: stagedKey(this, name) }]
    })
    return [
      ...(this.#held.again ? [...unlinkOps(id), removalOp()] : []),
      ...outputs,
      ...(this.#hasStored
        ? [{ op: 'unlink', key: stagedDirectory(this), recursive: true } as const]
        : []),
      ...(record.action.bytes
        ? []
        : [{ op: 'put', key: actionKey(id), value: this.#action.bytes } as const]),
      { op: 'put', key: recordKey(id), value: encodeRecord(record) },
    ]
  }

  #recordOf(placed: ReadonlyMap<string, Placed>): ResultRecord {
    const { owner, code } = this.#ports
    const started = this.#started
    const outputs = [...placed].map(([name, output]): [string, OutputRecord] => {
      const { size } = output
      return [name, output.at === 'record' ? { size, bytes: output.bytes } : { size }]
    })
    const { bytes } = this.#action
    const size = bytes.length
    return {
      action: size <= inlineActionMax ? { size, bytes } : { size },
      outputs: Object.fromEntries(outputs),
      by: { host: hostname(), pid: process.pid, ...(owner !== undefined && { owner }) },
      started,
      tookMs: Math.max(0, Date.now() - started),
      ...(code !== undefined && { code }),
      token: this.token,
      used: hourOf(Date.now()),
    }
  }

  /** Returns EFENCED for a guard that did not hold, and for a lost lease. */
  #refused(error: unknown): unknown {
    const isGuard = isCode(error, 'ECONFLICT') && error.failed?.guard !== undefined
    return isGuard || isCode(error, 'EFENCED') ? this.#lost(error) : error
  }

  #lost(cause: unknown): TailraceError {
    const message = `the claim of ${this.id.slice(0, 12)} was lost, nothing was published: claim again`
    return new TailraceError('EFENCED', message, { cause })
  }
}

/** Returns the size of the values of ops, in bytes. */
function sizeOf(ops: readonly Op[]): number {
  return ops.reduce((size, op) => size + (op.op === 'put' ? op.value.length : 0), 0)
}

function namedOutputs(outputs: Outputs): ReadonlyMap<string, OneOutput> {
  if (isOutput(outputs)) return new Map([[onlyOutput, outputs]])
  if (typeof outputs !== 'object' || outputs === null) throw noOutput('outputs')
  const named = new Map(Object.entries(outputs))
  if (named.size > outputsMax) {
    throw new TailraceError('E2BIG', `a result has at most ${outputsMax} outputs`)
  }
  for (const [name, output] of named) {
    if (!isOutput(output)) throw noOutput(`the output ${JSON.stringify(name)}`)
    nameInKey(name)
  }
  return named
}

function isOutput(output: unknown): output is OneOutput {
  if (typeof output === 'string' || output instanceof Uint8Array) return true
  if (output instanceof StoredElsewhere) return true
  return isStream(output)
}

function isStream(output: unknown): output is AsyncIterable<Uint8Array> {
  return typeof output === 'object' && output !== null && Symbol.asyncIterator in output
}

function noOutput(what: string): TailraceError {
  return invalid(`${what} must be text, bytes or a stream, or outputs by name`)
}

async function* once(bytes: Value & Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** Yields the chunks of a stream, and counts their bytes. */
async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  count: { size: number },
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count.size += chunk.length
    yield chunk
  }
}
