/** The record of a result, and the keys of a layer. See rfc/22, rules 8 and 9.
 *  Invariant: a record names every output. Small outputs stand in it, so that a hit is one request
 *  for each layer. */

import type { ResultView, StoredBytes } from '../api/cache.js'
import type { Token } from '../api/transaction.js'
import { bytes, count, invalid, number, type Rule, shapeOf, text, within } from '../base/shape.js'
import { type Code, TailraceError } from '../error.js'
import { pack, unpack } from './packing.js'

/** The largest size of all outputs that stand in the record, in bytes. */
export const inlineSizeMax = 16 * 1024
/** The largest size of the key of an output, in bytes. */
const nameSizeMax = 255

/** Codes of a read of bytes that are gone or damaged. */
export const damage: readonly Code[] = ['EDANGLING', 'ECORRUPT']

/** An output in a record, with its bytes if it is small. */
export type OutputRecord = { readonly size: number; readonly bytes?: Uint8Array }

/** A record. */
export type ResultRecord = Omit<ResultView, 'id' | 'layer' | 'seq' | 'outputs'> & {
  readonly outputs: { readonly [name: string]: OutputRecord }
}

const output = within(shapeOf<OutputRecord>({ size: count, bytes }, ['size']))
const outputs: Rule = {
  is: (value) =>
    typeof value === 'object' && value !== null && Object.values(value).every(output.is),
  expected: 'outputs by name',
}
const record = within(
  shapeOf<ResultRecord>(
    {
      outputs,
      by: within(
        shapeOf<ResultRecord['by']>({ host: text, pid: count, owner: text }, ['host', 'pid']),
      ),
      started: number,
      tookMs: number,
      code: text,
      token: within(shapeOf<Token>({ incarnation: text, seq: count }, ['incarnation', 'seq'])),
    },
    ['outputs', 'by', 'started', 'tookMs', 'token'],
  ),
)

/** The directory of the index of results by the hours of their last uses. */
export const hoursKey = 'u'

/** The directory of all results. */
export const resultsKey = 'r'

/** Returns the directory of a result. */
export function resultKey(id: string): string {
  return `${resultsKey}/${id}`
}

/** Returns the key of a record. Its lease is the claim of the action. */
export function recordKey(id: string): string {
  return `${resultKey(id)}/result`
}

/** Returns the key of a packed action. */
export function actionKey(id: string): string {
  return `${resultKey(id)}/action`
}

/** Returns the key of the last use of a result. */
export function useKey(id: string): string {
  return `${resultKey(id)}/used`
}

/** Returns the key of an output that does not stand in the record. Throws EINVAL. */
export function outputKey(id: string, name: string): string {
  return `${resultKey(id)}/out/${nameInKey(name)}`
}

/** Returns the directory of the outputs that are being stored for a claim. */
export function stagedDirectory({ incarnation, seq }: Token): string {
  return `s/${incarnation}-${seq}`
}

/** Returns the key of an output that is being stored for a claim. Throws EINVAL. */
export function stagedKey(token: Token, name: string): string {
  return `${stagedDirectory(token)}/${nameInKey(name)}`
}

/** Returns the name of an output as a component of a key: slashes are no separators there. */
export function nameInKey(name: string): string {
  const component = name.isWellFormed() ? encodeURIComponent(name).replace(/^\.+$/, dots) : ''
  if (component !== '' && component.length <= nameSizeMax) return component
  throw invalid(
    `the name ${JSON.stringify(name.slice(0, 100))} of an output is empty, too long or not well formed`,
  )
}

/** Returns dots that no path takes for a directory. */
function dots(text: string): string {
  return '%2E'.repeat(text.length)
}

/** Returns the bytes of a record. */
export function encodeRecord(value: ResultRecord): Uint8Array {
  return pack(value, 'the record')
}

/** Returns the record of bytes. Throws EINVAL for others. */
export function parseRecord(packed: Uint8Array, id: string): ResultRecord {
  const what = `the record of the result ${id}`
  const value = unpack(packed, what)
  if (record.is(value)) return value as ResultRecord
  throw new TailraceError('EINVAL', `${what} is none: remove it with tailrace cache rm ${id}`)
}

/** Bytes that stand at a key of the store. */
export class StoredElsewhere {
  readonly key: string
  readonly namespace: string
  readonly size: number

  constructor({ key, namespace, size }: Pick<StoredBytes, 'key' | 'namespace' | 'size'>) {
    this.key = key
    this.namespace = namespace
    this.size = size
  }
}

/** Makes an output of bytes that stand at a key of the store. If they are not there when it is published,
 *  that is ENOENT, and nothing is published. */
export function storedBytes(place: Pick<StoredBytes, 'key' | 'namespace' | 'size'>): StoredBytes {
  return new StoredElsewhere(place) as unknown as StoredBytes
}
