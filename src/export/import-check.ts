/** The records of an export against the tree that its header names: each is the one that comes next, and
 *  none is missing. See rfc/15.
 *  Invariant: what was given to `take` in full is all that the tree reaches, but for what its base does. */

import type { Blob } from '../blob/blob.js'
import { isCode, type TailraceError } from '../error.js'
import { decodeNode } from '../tree/node.js'
import type { Nodes } from '../tree/nodes.js'
import type { Header } from './format.js'
import type { ExportParser, ExportRecord } from './parse.js'
import { ExportWalk } from './walk.js'

/** `nodes` loads what `take` was given (the last, and what was `partial`), and a difference's base. Throws ECORRUPT, EMISCONFIGURED, what
 *  `take` throws. */
export async function checkRecords(
  parser: ExportParser,
  header: Header,
  { nodes }: { readonly nodes: Nodes },
  take: (blob: Blob, options: { readonly partial: boolean }) => Promise<void>,
): Promise<void> {
  const walk = new ExportWalk()
  if (header.base) await walk.leaveOut(nodes, header.base.data)
  for await (const { ref, kind, partial = false } of walk.records(nodes, header.data)) {
    const record = await parser.next()
    if (!record) throw parser.corrupt(`${ref}, which the tree needs, is not in it`)
    if (record.ref !== ref || record.kind !== kind) {
      throw parser.corrupt(`a ${record.kind} ${record.ref} stands where the ${kind} ${ref} belongs`)
    }
    await take(blobOf(record, parser), { partial })
  }
  if (await parser.next()) throw parser.corrupt('a record that the tree does not need')
}

/** A record as a blob to store. Throws ECORRUPT: bytes that have the name of a node and are none. */
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
  return parser.corrupt(what, error)
}
