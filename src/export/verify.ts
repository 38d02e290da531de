/** Verifies the stream of an export without a store. See rfc/15, rule 11.
 *  Invariant: a stream that passes is exactly what was exported. A whole tree that passes can be
 *  imported anywhere. A difference may name what its base lacks: only an importer can check
 *  that. */

import type { Skipped } from '../api/upkeep.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { NodeSource } from '../content/content.js'
import { TailraceError } from '../error.js'
import { Nodes } from '../tree/nodes.js'
import { refOf } from '../treeobj/codec.js'
import type { Totals } from './format.js'
import { blobOf, checkRecords } from './import-check.js'
import { ExportParser } from './parse.js'

/** The size of the cache of decoded nodes, in encoded bytes. Each node is asked for once. */
const nodesSize = 1024 * 1024

/** The content of a verified export. */
export type Verified = {
  /** The namespace that was exported. */
  readonly namespace: string
  /** The seq of the exported root. */
  readonly seq: number
  /** The time of the root by the wall clock, in ms since 1970. */
  readonly time: number
  /** The ref of the root directory, as `stat` has it. */
  readonly ref: Blobref
  /** The number of keys in the tree. */
  readonly keys: number
  /** The size of all values in the tree, in bytes. */
  readonly size: number
  /** The root that a difference follows, with the ref of its root directory. */
  readonly since?: { readonly seq: number; readonly ref: Blobref }
  /** The number and size of the records that were read. */
  readonly read: Totals
  /** The entries that the export left out, because they could not be read. */
  readonly skipped?: readonly Skipped[]
}

/** Reads a stream to its end, and verifies it. Throws EINVAL (damaged, cut, no export, or of a
 *  newer format), and what the source throws. */
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

/** Checks each record of a difference by itself. Without the base their order cannot be checked. */
async function passRecords(parser: ExportParser): Promise<void> {
  for (let record = await parser.next(); record; record = await parser.next()) {
    blobOf(record, parser)
  }
}

/** The nodes that the walk can still ask for: the last one, and those of trimmed logs. */
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
