/** The state of the producers of a key, so that an append that is sent again is appended once. See
 *  rfc/20, rules 1 to 4. The idea comes from Kafka's idempotent producers.
 *  Invariant: the transaction that appends also writes the state of its producer. The state ends
 *  with the value. */

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
import type { Key } from '../treeobj/key.js'

/** The place of an append: the index of its first blob, and the blobs of the log after it. */
type Landed = { readonly index: number; readonly count: number }

/** The state of a producer of a key. */
export type ProducerState = {
  readonly epoch: number
  /** The producer's number of its last append. */
  readonly last: number
  /** The namespace's seq before that append. The least recently used producer is forgotten
   *  first. */
  readonly used: number
  /** The places of its last appends in the epoch, the last one last, at most
   *  `producerResultsMax`. */
  readonly landed: readonly Landed[]
}

/** A guard that holds if an append with this epoch and number would be the producer's next
 *  one to the key. */
export type ProducerGuard = {
  readonly key: Key
  readonly id: string
  readonly epoch: number
  readonly next: number
}

/** The judgement of an append: it is a repeat, with its result; or it is the next one, with the
 *  state of its producer before. */
type Turn =
  | { readonly repeated: OpResult }
  | { readonly repeated?: undefined; readonly before: ProducerState | undefined }

/** Checks the producer of an append. Throws EINVAL. */
export function parseProducer({ id, epoch, seq }: Producer): Producer {
  return { id: parseProducerId(id), epoch: countOf(epoch, 'epoch'), seq: countOf(seq, 'seq') }
}

/** Checks a guard on a producer. Throws EINVAL. */
export function parseProducerGuard(
  guard: { readonly producer: string; readonly epoch: number; readonly next: number },
  key: Key,
): ProducerGuard {
  const { producer, epoch, next } = guard
  const id = parseProducerId(producer)
  return { key, id, epoch: countOf(epoch, 'epoch'), next: countOf(next, 'next') }
}

/** Checks the id of a producer. Throws EINVAL. */
function parseProducerId(id: unknown): string {
  if (typeof id === 'string' && id.isWellFormed() && id !== '.' && id !== '..') {
    const size = Buffer.byteLength(id)
    if (size > 0 && size <= producerIdSizeMax && !/[/\0]/.test(id)) return id
  }
  const message = `a producer's id is 1 to ${producerIdSizeMax} bytes of UTF-8 without / and NUL, and not "." or ".."`
  throw new TailraceError('EINVAL', message)
}

/** Judges an append by the table of rfc/20, rule 1. Throws ECONFLICT, EFENCED, each with the
 *  producer's state in `failed.state`. REQUIRES: the key is resolved. */
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

/** Writes the state of a producer after an append. REQUIRES: `turnOf` gave `before`. */
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

/** Judges a guard on a producer. Undefined if it holds; otherwise the reason, and the state that
 *  was met. Throws EPERM, ELOOP. */
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

/** Encodes a state as `[epoch, last, used, index, count, index, count, …]`. That is less than
 *  `inlineSizeMax` bytes, so it is a short record. */
export function encodeProducer(state: ProducerState): readonly Plain[] {
  const { epoch, last, used, landed } = state
  return [epoch, last, used, ...landed.flatMap(({ index, count }) => [index, count])]
}

/** Decodes the state of a producer. Throws ECORRUPT. */
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

/** Forgets the least recently used producer of a key that has `producersMax` of them. */
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

/** Returns true if an append is the producer's next one. An unknown producer counts as one that has
 *  appended nothing. */
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
