/** Records as a layer has them. See rfc/22, rules 9 and 10.
 *  Invariant: a record that cannot be read says so by itself, and hides no other one. */

import { type Kvs, readSizeMax } from '../api/kvs.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Code, isCode, type TailraceError, toTailraceError } from '../error.js'
import { namespaceOf } from './layer.js'
import { damage, parseRecord, type ResultRecord, recordKey } from './record.js'

/** The largest number of records that one request reads: they fit into its answer whatever their sizes
 *  are. */
export const recordsAtOnce = readSizeMax / blobSizeMax
/** The seq of a layer that is not there. */
export const noSeq = -1
/** Codes of a read of several records that one of them alone may have caused. */
const ofOneRecord: readonly Code[] = ['E2BIG', 'EISDIR', 'ENOTDIR', 'ELOOP', ...damage]

/** A record as it was read at a seq; none if it is not there. `error`: it is there, and cannot be
 *  read. */
export type ReadRecord = {
  readonly record: ResultRecord | undefined
  readonly seq: number
  readonly error?: TailraceError
}

type RecordScope = { readonly at?: number; readonly signal?: AbortSignal }

/** Reads the records of results, in the order of the ids. A layer that is not there has none. Throws what
 *  `Kvs.readMany` throws, but for one of the records. */
export async function readRecords(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  scope: RecordScope = {},
): Promise<readonly ReadRecord[]> {
  const parts: Promise<readonly ReadRecord[]>[] = []
  for (let at = 0; at < ids.length; at += recordsAtOnce) {
    parts.push(readPart(kvs, layer, ids.slice(at, at + recordsAtOnce), scope))
  }
  return (await Promise.all(parts)).flat()
}

async function readPart(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  scope: RecordScope,
): Promise<readonly ReadRecord[]> {
  try {
    const options = { namespace: namespaceOf(layer), ...scope }
    const { seq, values } = await kvs.readMany(ids.map(recordKey), options)
    return ids.map((id, at) => parsed(values[at], id, seq))
  } catch (error) {
    // The layer was removed, or nobody has made it yet.
    if (isCode(error, 'ENONS')) return ids.map(() => ({ record: undefined, seq: noSeq }))
    if (!ofOneRecord.some((code) => isCode(error, code))) throw error
    if (ids.length === 1) {
      return [{ record: undefined, seq: noSeq, error: toTailraceError(error) }]
    }
    const each = await Promise.all(ids.map((id) => readPart(kvs, layer, [id], scope)))
    return each.flat()
  }
}

function parsed(bytes: Uint8Array | undefined, id: string, seq: number): ReadRecord {
  try {
    return { record: bytes && parseRecord(bytes, id), seq }
  } catch (error) {
    return { record: undefined, seq, error: toTailraceError(error) }
  }
}

/** True if the bytes of a record are gone or damaged. */
export function isDamaged({ error }: ReadRecord): boolean {
  return damage.some((code) => isCode(error, code))
}
