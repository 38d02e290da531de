/** The records of an export against the tree that its header names: each is the one that comes next, and
 *  none is missing. See rfc/15.
 *  Invariant: what was given to `take` in full is all that the tree reaches, but for what its base does. */

import type { Blob } from '../blob/blob.js'
import { isCode, type TailraceError } from '../error.js'
import { decodeNode } from '../tree/node.js'
import type { Nodes } from '../tree/nodes.js'
import type { Reached } from '../tree/reach.js'
import type { Header } from './format.js'
import type { ExportParser, ExportRecord } from './parse.js'
import { ExportWalk } from './walk.js'

/** Loads what `take` was given (the last, and what was `partial`), and a difference's base. */
export type NodesTaken = {
  readonly nodes: Nodes
  /** Whether it was the importer's own store that failed, and not the stream that does not hold together. */
  readonly isOwn?: (error: unknown) => boolean
}

/** Throws EINVAL (the stream is not what its header says), what the importer's own store and `take` throw. */
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

/** What fails in the source is thrown as `blame` says; what fails in the loop that consumes it is not touched. */
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

/** A record as a blob to store. Throws EINVAL: bytes that have the name of a node and are none. */
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
