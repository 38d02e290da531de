/** Checks the records of an export against the tree that its header names: each record is the one
 *  that comes next, and none is missing. See rfc/15, rules 4 and 7.
 *  Invariant: when `checkRecords` resolves, `take` got all blobs and nodes that the tree reaches
 *  and its base does not. */

import type { Blob } from '../blob/blob.js'
import { isCode, type TailraceError } from '../error.js'
import { decodeNode } from '../tree/node.js'
import type { Nodes } from '../tree/nodes.js'
import type { Reached } from '../walk/reach.js'
import type { Header } from './format.js'
import type { ExportParser, ExportRecord } from './parse.js'
import { ExportWalk } from './walk.js'

type NodesTaken = {
  /** Loads the nodes that `take` got (the last one, and those that were `partial`), and those of
   *  the base. */
  readonly nodes: Nodes
  /** Returns true for an error of the importer's own store. Any other error is one of the
   *  stream. */
  readonly isOwn?: (error: unknown) => boolean
}

/** Reads all records, and gives each to `take`. Throws EINVAL if the stream is not what its header
 *  says, and what the importer's own store and `take` throw. */
export async function checkRecords(
  parser: ExportParser,
  header: Header,
  { nodes, isOwn = () => false }: NodesTaken,
  take: (blob: Blob, options: { readonly partial: boolean }) => Promise<void>,
): Promise<void> {
  const walk = new ExportWalk()
  const walked = walkOf(walk, nodes, header)
  const blamed = blaming(walked, (error) => {
    const isOfStream = isCode(error, 'ECORRUPT') && !isOwn(error)
    return isOfStream ? parser.refused(error.message, error) : error
  })
  for await (const { ref, kind, partial = false } of blamed) {
    const record = await parser.next()
    if (!record) throw parser.refused(`${ref}, which the tree needs, is not in it`)
    if (record.ref !== ref || record.kind !== kind) {
      throw parser.refused(`a ${record.kind} ${record.ref} stands where the ${kind} ${ref} belongs`)
    }
    await take(blobOf(record, parser), { partial })
  }
  if (await parser.next()) throw parser.refused('a record that the tree does not need')
}

async function* walkOf(walk: ExportWalk, nodes: Nodes, header: Header): AsyncGenerator<Reached> {
  if (header.base) await walk.leaveOut(nodes, header.base.data)
  yield* walk.records(nodes, header.data)
}

/** Yields the source. An error of the source is thrown as `blame` returns it; errors of the
 *  consumer are not changed. */
async function* blaming<T>(
  source: AsyncIterable<T>,
  blame: (error: unknown) => unknown,
): AsyncGenerator<T> {
  try {
    yield* source
  } catch (error) {
    throw blame(error)
  }
}

/** Makes the blob to store from a record. Throws EINVAL if the record is called a node and does not
 *  decode as one. */
export function blobOf({ kind, ref, bytes }: ExportRecord, parser: ExportParser): Blob {
  if (kind === 'blob') return { ref, bytes }
  try {
    decodeNode(bytes)
  } catch (error) {
    throw notANode(parser, error)
  }
  return { ref, bytes, kind: 'node' }
}

function notANode(parser: ExportParser, error: unknown): TailraceError {
  const what = isCode(error, 'ECORRUPT') ? error.message : String(error)
  return parser.refused(what, error)
}
