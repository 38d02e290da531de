/** Who appends to a key, so that an append that is sent again is appended once. See rfc/20. Kafka's idempotent
 *  producers are the source of the idea.
 *  Invariant: the state of a producer is written by the transaction that appends, and ends with the value:
 *  whatever is lost on the way, what was appended and what is known of it are one. */

import {
  type OpResult,
  type Producer,
  producerIdSizeMax,
  producerResultsMax,
  producersMax,
} from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup } from '../draft/group.js'
import { own } from '../draft/locate.js'
import {
  draftShortRecords,
  getShortRecord,
  lifePath,
  type MetaRecord,
  recordsAtMost,
  removeRecord,
  setRecord,
} from '../draft/meta.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'

/** What a log is told of one append. */
export type Landed = { readonly index: number; readonly count: number }

/** What is kept of a producer. */
export type ProducerState = {
  readonly epoch: number
  /** The seq of its last append. */
  readonly last: number
  /** The namespace's seq of that append: the least recently used producer is forgotten first. */
  readonly used: number
  /** Where its last appends landed, the last one last, at most `producerResultsMax`. */
  readonly landed: readonly Landed[]
}

/** The producer's next append to the key would be this one. */
export type ProducerGuard = {
  readonly key: Key
  readonly id: string
  readonly epoch: number
  readonly next: number
}

/** An append that is there already, or one to be done, with what is known of its producer before. */
export type Turn =
  | { readonly repeated: OpResult }
  | { readonly repeated?: undefined; readonly before: ProducerState | undefined }

/** Throws EINVAL. */
export function parseProducer({ id, epoch, seq }: Producer): Producer {
  return { id: parseProducerId(id), epoch: countOf(epoch, 'epoch'), seq: countOf(seq, 'seq') }
}

/** Throws EINVAL. */
export function parseProducerGuard(
  guard: { readonly producer: string; readonly epoch: number; readonly next: number },
  key: Key,
): ProducerGuard {
  const { producer, epoch, next } = guard
  const id = parseProducerId(producer)
  return { key, id, epoch: countOf(epoch, 'epoch'), next: countOf(next, 'next') }
}

/** Throws EINVAL. */
function parseProducerId(id: unknown): string {
  if (typeof id === 'string' && id.isWellFormed() && id !== '.' && id !== '..') {
    const size = Buffer.byteLength(id)
    if (size > 0 && size <= producerIdSizeMax && !/[/\0]/.test(id)) return id
  }
  const message = `a producer's id is 1 to ${producerIdSizeMax} bytes of UTF-8 without / and NUL, and not "." or ".."`
  throw new TailraceError('EINVAL', message)
}

/** Whether it is this append's turn. Throws ECONFLICT, EFENCED, each with what is known as `state`. */
export async function turnOf(group: DraftGroup, key: Key, producer: Producer): Promise<Turn> {
  const state = await stateOf(group, key, producer.id)
  const { epoch, seq } = producer
  if (state && epoch < state.epoch) throw fenced(state, producer)
  if (state && epoch === state.epoch && seq <= state.last) {
    const landed = state.landed[state.landed.length - 1 - (state.last - seq)]
    return { repeated: { ...landed, repeated: true } }
  }
  if (!isNext(state, epoch, seq)) throw outOfTurn(state, producer)
  return { before: state }
}

/** Notes an append that was done. REQUIRES: it was its turn, with `before`. */
export async function noteAppend(
  group: DraftGroup,
  key: Key,
  done: {
    readonly producer: Producer
    readonly before: ProducerState | undefined
    readonly landed: Landed
    readonly used: number
  },
): Promise<void> {
  const { producer, before, landed, used } = done
  const { id, epoch, seq } = producer
  if (!before) await makeRoom(group, key)
  const earlier = before?.epoch === epoch ? before.landed : []
  const state = { epoch, last: seq, used, landed: [...earlier, landed].slice(-producerResultsMax) }
  await setRecord(group.meta, [...lifePath('producers', key), id], encodeProducer(state))
}

/** Undefined if the producer's next append to the key would be this one. Throws EPERM, ELOOP. */
export async function refusesProducer(
  group: DraftGroup,
  guard: ProducerGuard,
): Promise<{ readonly message: string; readonly state: unknown } | undefined> {
  const { id, epoch, next } = guard
  const place = own(await group.draft.locate(guard.key, { follow: true }), guard.key)
  const state = await stateOf(group, place.key, id)
  if (isNext(state, epoch, next)) return undefined
  const message = `append ${next} of epoch ${epoch} is not what comes next of producer ${id}`
  return { message, state: shownOf(state, id) }
}

/** `[epoch, last, used, index, count, index, count, …]`: below `inlineSizeMax` bytes, so one value. */
export function encodeProducer(state: ProducerState): readonly Plain[] {
  const { epoch, last, used, landed } = state
  return [epoch, last, used, ...landed.flatMap(({ index, count }) => [index, count])]
}

/** Throws ECORRUPT. */
export function decodeProducer(record: MetaRecord): ProducerState {
  const numbers = record.filter((field): field is number => isCount(field))
  const [epoch, last, used, ...pairs] = numbers
  if (numbers.length < record.length || used === undefined || pairs.length % 2 !== 0) {
    throw corrupt('the record of a producer')
  }
  const landed = pairs.flatMap((index, at) =>
    at % 2 === 0 ? [{ index, count: pairs[at + 1] ?? 0 }] : [],
  )
  return { epoch: epoch ?? 0, last: last ?? 0, used, landed }
}

async function stateOf(
  group: DraftGroup,
  key: Key,
  id: string,
): Promise<ProducerState | undefined> {
  const record = await getShortRecord(group.meta, [...lifePath('producers', key), id])
  return record && decodeProducer(record)
}

/** Forgets the least recently used producer of a key that has as many as it may. */
async function makeRoom(group: DraftGroup, key: Key): Promise<void> {
  const path = lifePath('producers', key)
  if ((await recordsAtMost(group.meta, path)) < producersMax) return
  let count = 0
  let oldest: { readonly id: string; readonly used: number } | undefined
  for await (const [id, record] of draftShortRecords(group.meta, path)) {
    const { used } = decodeProducer(record)
    if (!oldest || used < oldest.used) oldest = { id, used }
    count++
  }
  if (count >= producersMax && oldest) await removeRecord(group.meta, [...path, oldest.id])
}

/** A producer that is not known is one that has appended nothing. */
function isNext(state: ProducerState | undefined, epoch: number, seq: number): boolean {
  if (!state || epoch > state.epoch) return seq === 0
  return epoch === state.epoch && seq === state.last + 1
}

function fenced(state: ProducerState, { id, epoch }: Producer): TailraceError {
  const message = `producer ${id} is at epoch ${state.epoch}: who appends with epoch ${epoch} was replaced`
  return new TailraceError('EFENCED', message, { failed: { state: shownOf(state, id) } })
}

function outOfTurn(state: ProducerState | undefined, producer: Producer): TailraceError {
  const { id, epoch, seq } = producer
  const next = state?.epoch === epoch ? state.last + 1 : 0
  const known = state ? '' : ' (nothing is known of it: it is new here, forgotten, or the value is)'
  const message = `append ${next} comes next of producer ${id} in epoch ${epoch}, not ${seq}${known}`
  return new TailraceError('ECONFLICT', message, { failed: { state: shownOf(state, id) } })
}

function shownOf(state: ProducerState | undefined, producer: string) {
  return { producer, epoch: state?.epoch ?? 0, next: state ? state.last + 1 : 0 }
}

function countOf(input: unknown, what: string): number {
  if (isCount(input)) return input
  throw new TailraceError('EINVAL', `a producer's ${what} is a whole number, 0 or more`)
}
