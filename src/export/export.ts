/** A namespace's tree as a stream that proves itself: whole, or what an older root does not have. See
 *  rfc/15.
 *  Invariant: what is yielded comes from one root, which is held while the stream is read; nothing of
 *  `meta` is in it. Memory: one chunk, and what the walk takes. */

import { StreamHash } from '../blob/hash.js'
import type { Content } from '../content/content.js'
import { canceled, TailraceError } from '../error.js'
import type { Namespaces } from '../kvs/namespaces.js'
import type { ExportOptions } from '../kvs/upkeep.js'
import type { Nodes } from '../tree/nodes.js'
import { encodeEnd, encodeHead, encodeRecordHead, type Header } from './format.js'
import { ExportWalk } from './walk.js'

/** Bytes that are gathered before they are handed on; a record more at most. */
export const exportChunkSize = 256 * 1024

export type ExportPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: Namespaces
}

/** Nothing is read before it is asked for. Throws ENONS, ECOMPACTED, EINVAL (`since` is newer than what is
 *  exported, or there is no such seq), and as `writeExport`. */
export async function* exportTree(
  ports: ExportPorts,
  { namespace, at, since, signal }: ExportOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { live } = ports.spaces.find(namespace)
  using held = await ports.spaces.hold(live, at)
  using from = since === undefined ? undefined : await ports.spaces.hold(live, since)
  const { seq, time } = held.root
  if (from && from.root.seq > seq) {
    const message = `the root ${from.root.seq} is newer than ${seq}: a difference goes forward`
    throw new TailraceError('EINVAL', message)
  }
  const base = from && { seq: from.root.seq, data: await live.data(from.root) }
  const header = { namespace: live.name, seq, time, data: await live.data(held.root), base }
  yield* writeExport(ports, header, signal)
}

/** Throws EDANGLING, ECORRUPT (something is damaged: see fsck), EIO, ECANCELED; the stream is then not
 *  whole, and says so by having no end. */
export async function* writeExport(
  { content, nodes }: Pick<ExportPorts, 'content' | 'nodes'>,
  header: Header,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  using hash = new StreamHash()
  let parts: Uint8Array[] = [encodeHead(header)]
  let held = 0
  let [count, size] = [0, 0]
  const take = (): Buffer => {
    const chunk = Buffer.concat(parts)
    parts = []
    held = 0
    // In steps, since a chunk may be larger than what a hash takes at once.
    for (let at = 0; at < chunk.length; at += exportChunkSize) {
      hash.update(chunk.subarray(at, at + exportChunkSize))
    }
    return chunk
  }
  const walk = new ExportWalk()
  if (header.base) await walk.leaveOut(nodes, header.base.data, signal)
  for await (const { ref, kind } of walk.records(nodes, header.data)) {
    if (signal?.aborted) throw canceled(signal)
    const bytes = await (kind === 'node' ? content.loadNode(ref) : content.load(ref))
    parts.push(encodeRecordHead(kind, bytes.length), bytes)
    count++
    size += bytes.length
    held += bytes.length
    if (held >= exportChunkSize) yield take()
  }
  parts.push(encodeEnd({ count, size }))
  const last = take()
  yield Buffer.concat([last, hash.digest()])
}
