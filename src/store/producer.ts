/** The appends of one producer to one key: numbered, in order, each done once however often it is
 *  sent. See rfc/20. Runs over any `Kvs`, in browsers too.
 *  Invariant: one transaction is on its way at a time. It holds the appends that waited when it was
 *  formed, in order. An append gets its number then. After a failed transaction no append gets a
 *  number. */

import type { AppendProducer, Kvs, ProducerAppendOptions, ProducerOptions } from '../api/kvs.js'
import {
  type Committed,
  type CommittedOp,
  type Op,
  opsMax,
  type Transaction,
  transactionSizeMax,
  type Value,
  waitingMax,
  waitingSizeMax,
} from '../api/transaction.js'
import { joinAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'

/** The largest size of the values of one transaction, in bytes, if it has more than one. */
const batchSizeMax = 4 * 1024 * 1024
/** The number of tries to take the next epoch. A try fails if another producer took that epoch. */
const claimTriesMax = 16

type Commit = Pick<Kvs, 'commit'>['commit']
type Append = {
  readonly value: Uint8Array
  readonly seal: boolean
  readonly answer: Deferred<CommittedOp>
}
type Place = { readonly epoch: number; readonly next: number }

/** Opens a producer. Without an epoch it asks the store for the next one. Throws ENONS, EINVAL,
 *  ECANCELED. */
export async function openProducer(
  commit: Commit,
  key: string,
  options: ProducerOptions,
  newId: () => string,
): Promise<AppendProducer> {
  const { id = newId(), epoch = 'next', namespace, signal } = options
  const scope = { exactlyOnce: true, ...(namespace === undefined ? {} : { namespace }) }
  const asked = { ...scope, ...(signal ? { signal } : {}) }
  const ports: Ports = {
    commit: (transaction, more) => commit(transaction, { ...scope, ...more }),
    newId,
    id,
    key,
  }
  const isNext = epoch === 'next'
  const first = isNext ? after(await placeOf((each) => commit(each, asked), key, id)) : epoch
  return new KeyProducer(ports, { epoch: first, claims: isNext })
}

type Ports = {
  readonly commit: (
    transaction: Transaction,
    more: { readonly signal: AbortSignal; readonly idempotencyKey?: string },
  ) => Promise<Committed>
  readonly newId: () => string
  readonly id: string
  readonly key: string
}

class KeyProducer implements AppendProducer {
  readonly id: string
  readonly key: string
  readonly #ports: Ports
  /** True if the producer may take a higher epoch, as long as none of its appends was done. */
  readonly #claims: boolean
  readonly #ended = new AbortController()
  #epoch: number
  #next = 0
  #waiting: Append[] = []
  #waitingSize = 0
  #running: Promise<void> | undefined
  #failed: TailraceError | undefined

  constructor(
    ports: Ports,
    { epoch, claims }: { readonly epoch: number; readonly claims: boolean },
  ) {
    this.id = ports.id
    this.key = ports.key
    this.#ports = ports
    this.#claims = claims
    this.#epoch = epoch
  }

  get epoch(): number {
    return this.#epoch
  }

  get next(): number {
    return this.#next
  }

  append(value: Value, options: ProducerAppendOptions = {}): Promise<CommittedOp> {
    const { seal = false, signal } = options
    const answer = deferred<CommittedOp>()
    try {
      this.#take({ value: bytesOf(value), seal, answer })
    } catch (error) {
      return Promise.reject(error)
    }
    return joinAbort(answer.promise, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(new TailraceError('ECLOSED', `the producer ${this.id} was disposed`))
    await this.#running
  }

  #take(append: Append): void {
    if (this.#failed) throw this.#failed
    const size = this.#waitingSize + append.value.length
    if (this.#waiting.length >= waitingMax || this.#waitingSize > waitingSizeMax) {
      const message = `${this.#waiting.length} appends wait: await some before you append more`
      throw new TailraceError('EBUSY', message)
    }
    this.#waiting.push(append)
    this.#waitingSize = size
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // All appends of this turn of the event loop share a transaction.
    await undefined
    while (this.#waiting.length > 0) {
      const batch = this.#batch()
      try {
        const { results, ...rest } = await this.#send(batch)
        this.#next += batch.length
        for (const [index, { answer }] of batch.entries()) {
          answer.resolve({ ...rest, result: results[index] ?? {} })
        }
      } catch (error) {
        this.#fail(toTailraceError(error))
        const reason = this.#failed ?? toTailraceError(error)
        for (const { answer } of batch) answer.reject(reason)
      }
    }
    this.#running = undefined
  }

  /** Takes the appends of the next transaction. A seal is the last one, so that an append after it
   *  fails in a transaction of its own. */
  #batch(): Append[] {
    const batch: Append[] = []
    let size = 0
    for (const append of this.#waiting) {
      if (batch.length === opsMax) break
      if (batch.length > 0 && size + append.value.length > batchSizeMax) break
      batch.push(append)
      size += append.value.length
      if (append.seal) break
    }
    this.#waiting = this.#waiting.slice(batch.length)
    this.#waitingSize -= size
    return batch
  }

  async #send(batch: readonly Append[]): Promise<Committed> {
    const { signal } = this.#ended
    if (this.#next > 0) return this.#ports.commit({ ops: this.#opsOf(batch) }, { signal })
    for (let tries = 1; ; tries++) {
      try {
        return await this.#claim(batch)
      } catch (error) {
        const lost = isCode(error, 'ECONFLICT') && error.failed?.guard === 0
        if (!lost || !this.#claims || tries >= claimTriesMax) throw error
        this.#epoch = after(parsePlace(error.failed?.state))
      }
    }
  }

  /** Sends the first appends. A guard lets them through only if nobody has begun this epoch. The
   *  guard no longer holds when they are sent again, so an idempotency key gets them their
   *  answer. */
  #claim(batch: readonly Append[]): Promise<Committed> {
    const { id, key } = this
    const guard = { key, producer: id, epoch: this.#epoch, next: 0 }
    const idempotencyKey = this.#ports.newId()
    const transaction = { guards: [guard], ops: this.#opsOf(batch) }
    return this.#ports.commit(transaction, { signal: this.#ended.signal, idempotencyKey })
  }

  #opsOf(batch: readonly Append[]): Op[] {
    const { id, key, epoch } = this
    return batch.map(({ value, seal }, index) => {
      const producer = { id, epoch, seq: this.#next + index }
      return { op: 'append', key, value, producer, ...(seal ? { seal } : {}) }
    })
  }

  #fail(error: TailraceError): void {
    this.#failed ??= error
    this.#ended.abort(this.#failed)
    for (const { answer } of this.#waiting) answer.reject(this.#failed)
    this.#waiting = []
    this.#waitingSize = 0
  }
}

/** Asks the store for the epoch and the next number of a producer, by a guard that never holds. */
async function placeOf(
  commit: (transaction: Transaction) => Promise<Committed>,
  key: string,
  id: string,
): Promise<Place> {
  const never = { epoch: Number.MAX_SAFE_INTEGER, next: Number.MAX_SAFE_INTEGER }
  try {
    await commit({ guards: [{ key, producer: id, ...never }], ops: [] })
  } catch (error) {
    if (isCode(error, 'ECONFLICT')) return parsePlace(error.failed?.state)
    throw error
  }
  throw new TailraceError('EINVAL', `producer ${id} has no epochs left: take another id`)
}

/** Returns the epoch after the known ones. Returns the known one if nothing was appended in it. */
function after({ epoch, next }: Place): number {
  return next === 0 ? epoch : epoch + 1
}

function parsePlace(state: unknown): Place {
  const { epoch, next } = (state ?? {}) as { readonly [name: string]: unknown }
  if (typeof epoch === 'number' && typeof next === 'number') return { epoch, next }
  throw new TailraceError('EIO', 'the answer to a guard on a producer does not say where it is')
}

/** Copies a value, since the caller may change its buffer. Throws EINVAL, E2BIG. */
function bytesOf(value: Value): Uint8Array {
  if (typeof value === 'string' && !value.isWellFormed()) {
    throw new TailraceError('EINVAL', 'the text is not well formed (a lone surrogate): send bytes')
  }
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
    throw new TailraceError('EINVAL', 'a value is text or bytes')
  }
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : new Uint8Array(value)
  if (bytes.length <= transactionSizeMax) return bytes
  throw new TailraceError('E2BIG', `one append has at most ${transactionSizeMax} bytes: split it`)
}
