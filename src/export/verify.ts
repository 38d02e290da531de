/** A stream of an export checked without a store. See rfc/15.
 *  Invariant: what passes is just what was exported; a whole tree that passes can be imported anywhere. Of
 *  a difference only its importer can tell whether its base has the rest. */

import type { Skipped } from '../api/upkeep.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { NodeSource } from '../content/content.js'
import { TailraceError } from '../error.js'
import { Nodes } from '../tree/nodes.js'
import { refOf } from '../tree/treeobj-codec.js'
import type { Totals } from './format.js'
import { blobOf, checkRecords } from './import-check.js'
import { ExportParser } from './parse.js'

/** Encoded bytes of nodes kept decoded: each is asked for once. */
const nodesSize = 1024 * 1024

export type Verified = {
  readonly namespace: string
  readonly seq: number
  /** Of the root. Wall clock, ms since 1970. */
  readonly time: number
  /** Of the root directory, as `stat` has it; its keys and bytes. */
  readonly ref: Blobref
  readonly keys: number
  readonly size: number
  /** A difference: the root that it follows. */
  readonly since?: { readonly seq: number; readonly ref: Blobref }
  readonly read: Totals
  /** Entries that the export left out of its namespace, since they could not be read. */
  readonly skipped?: readonly Skipped[]
}

/** Throws EINVAL (damaged, cut, no export, or of a newer format), what the source throws. */
export async function verifyExport(chunks: AsyncIterable<Uint8Array>): Promise<Verified> {
  await using parser = new ExportParser(chunks)
  const header = await parser.header()
  const { namespace, seq, time, data, base } = header
  if (base) await passRecords(parser)
  else {
    const seen = new Seen()
    await checkRecords(parser, header, seen, async (blob, options) => seen.add(blob, options))
  }
  const since = base && { since: { seq: base.seq, ref: refOf(base.data) } }
  const { keys, size } = data
  const { totals: read, skipped } = parser
  const told = skipped.length > 0 ? { skipped } : {}
  return { namespace, seq, time, ref: refOf(data), keys, size, ...since, read, ...told }
}

/** Which of them the base lacks is not known: each is looked at by itself. */
async function passRecords(parser: ExportParser): Promise<void> {
  for (let record = await parser.next(); record; record = await parser.next()) {
    blobOf(record, parser)
  }
}

/** The nodes that the walk still asks for: the last one, and those of trimmed logs. */
class Seen implements NodeSource {
  readonly nodes = new Nodes(this, { cacheSize: nodesSize })
  readonly #parts = new Map<Blobref, Uint8Array>()
  #last: Blob | undefined

  add(blob: Blob, { partial }: { readonly partial: boolean }): void {
    this.#last = blob
    if (partial) this.#parts.set(blob.ref, blob.bytes)
  }

  peekNode(ref: Blobref): Uint8Array | undefined {
    return this.#last?.ref === ref ? this.#last.bytes : this.#parts.get(ref)
  }

  async loadNode(ref: Blobref): Promise<Uint8Array> {
    const bytes = this.peekNode(ref)
    if (bytes) return bytes
    throw new TailraceError('ECORRUPT', `${ref} is asked for out of its place`)
  }
}
