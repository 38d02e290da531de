/** The record of a result, and the keys of a layer. See rfc/22, rules 8 and 9.
 *  Invariant: a record names every output. Small outputs and actions stand in it, so that a hit is one
 *  request for each layer, and a small result is one key. */

import type { ResultView, StoredBytes } from '../api/cache.js'
import type { Op, Token } from '../api/transaction.js'
import { bytes, count, invalid, number, type Rule, shapeOf, text, within } from '../base/shape.js'
import { type Code, TailraceError } from '../error.js'
import { pack, unpack } from './packing.js'

/** The largest size of all outputs that stand in the record, in bytes. */
export const inlineSizeMax = 16 * 1024
/** The largest size of an action that stands in the record, in bytes. */
export const inlineActionMax = 4 * 1024
/** The largest size of the key of an output, in bytes. */
const nameSizeMax = 255

/** Codes of a read of bytes that are gone or damaged. */
export const damage: readonly Code[] = ['EDANGLING', 'ECORRUPT']

/** An output or an action in a record, with its bytes if it is small. */
export type OutputRecord = { readonly size: number; readonly bytes?: Uint8Array }

/** A record. `used`: the hour of the last use that was noted, since 1970. */
export type ResultRecord = Omit<ResultView, 'id' | 'layer' | 'seq' | 'outputs'> & {
  readonly action: OutputRecord
  readonly outputs: { readonly [name: string]: OutputRecord }
  readonly used: number
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
      action: output,
      outputs,
      used: count,
      by: within(
        shapeOf<ResultRecord['by']>({ host: text, pid: count, owner: text }, ['host', 'pid']),
      ),
      started: number,
      tookMs: number,
      code: text,
      token: within(shapeOf<Token>({ incarnation: text, seq: count }, ['incarnation', 'seq'])),
    },
    ['action', 'outputs', 'used', 'by', 'started', 'tookMs', 'token'],
  ),
)

/** The id of a claim's action, and its token. */
type ClaimName = { readonly id: string; readonly token: Token }

/** The directory of the index of results by the hours of their last uses. */
export const usesKey = 'uses'
/** The directory of the records of all results. */
export const recordsKey = 'results'
/** The directory of the outputs that do not stand in records. */
const outputsKey = 'outputs'
/** The directory of the actions that do not stand in records. */
const actionsKey = 'actions'
/** The directories of all that results consist of. */
export const resultDirectories: readonly string[] = [recordsKey, outputsKey, actionsKey]

/** Returns the key of a record. Its lease is the claim of the action. */
export function recordKey(id: string): string {
  return `${recordsKey}/${id}`
}

/** Returns the key of a packed action that does not stand in the record. */
export function actionKey(id: string): string {
  return `${actionsKey}/${id}`
}

/** Returns the key of an output that does not stand in the record. Throws EINVAL. */
export function outputKey(id: string, name: string): string {
  return `${outputsKey}/${id}/${nameInKey(name)}`
}

/** Returns the ops that remove a result. `record`: the parts that it has; by default all that one may
 *  have. */
export function unlinkOps(id: string, record?: ResultRecord): Op[] {
  const outputs = record ? Object.values(record.outputs) : []
  const hasOutputs = !record || outputs.some(({ bytes }) => !bytes)
  const hasAction = !record?.action.bytes
  return [
    { op: 'unlink', key: recordKey(id), recursive: true },
    ...(hasOutputs ? [{ op: 'unlink', key: `${outputsKey}/${id}`, recursive: true } as const] : []),
    ...(hasAction ? [{ op: 'unlink', key: actionKey(id) } as const] : []),
  ]
}

/** Returns the size of the parts of a result that do not stand in its record, in bytes. */
export function sizeBeside({ action, outputs }: ResultRecord): number {
  const parts = [action, ...Object.values(outputs)]
  return parts.reduce((all, { size, bytes }) => all + (bytes ? 0 : size), 0)
}

/** Returns the directory of the outputs that are being stored for a claim. Claims that were taken in one
 *  transaction have equal tokens. */
export function stagedDirectory({ id, token: { incarnation, seq } }: ClaimName): string {
  return `staged/${id}-${incarnation}-${seq}`
}

/** Returns the key of an output that is being stored for a claim. Throws EINVAL. */
export function stagedKey(claim: ClaimName, name: string): string {
  return `${stagedDirectory(claim)}/${nameInKey(name)}`
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
