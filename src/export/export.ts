/** A namespace's tree as a stream that proves itself: whole, or what an older root does not have. See
 *  rfc/15.
 *  Invariant: what is yielded comes from one root, which is held while the stream is read; nothing of
 *  `meta` is in it. Memory: one chunk, and what the walk takes. */

import type { ExportOptions } from '../api/upkeep.js'
import type { Blobref } from '../blob/blobref.js'
import { StreamHash } from '../blob/hash.js'
import type { Content } from '../content/content.js'
import { type Code, canceled, TailraceError } from '../error.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import { audit, Damaged } from '../tree/audit.js'
import { Clean } from '../tree/clean.js'
import { rootKey } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { encodeFailure } from './failure.js'
import { encodeEnd, encodeHead, encodeRecordHead, type Header } from './format.js'
import { readableOf } from './skip.js'
import { ExportWalk } from './walk.js'

/** Bytes that are gathered before they are handed on; a record more at most. */
export const exportChunkSize = 256 * 1024

/** Codes of data that cannot be read. */
const damageCodes: ReadonlySet<Code> = new Set(['ECORRUPT', 'EDANGLING', 'EIO'])

export type ExportPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
}

type ReadPorts = {
  readonly content: Pick<Content, 'load' | 'loadNode'>
  readonly nodes: Nodes
}

/** Nothing is read before it is asked for. Throws ENONS, ECOMPACTED, EINVAL (`since` is newer than what is
 *  exported, or there is no such seq), and as `writeExport`. */
export async function* exportTree(
  ports: ExportPorts,
  { namespace, at, since, skipDamaged, signal }: ExportOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { live } = ports.spaces.find(namespace)
  using held = await ports.spaces.past.hold(live, at)
  using from = since === undefined ? undefined : await ports.spaces.past.hold(live, since)
  const { seq, time } = held.root
  if (from && from.root.seq > seq) {
    const message = `the root ${from.root.seq} is newer than ${seq}: a difference goes forward`
    throw new TailraceError('EINVAL', message)
  }
  const base = from && { seq: from.root.seq, data: await live.data(from.root) }
  const data = await live.data(held.root)
  const of = { namespace: live.name, seq, time, base }
  if (!skipDamaged) return yield* writeExport(ports, { ...of, data }, signal)
  const { skipped, ...rest } = await readableOf(ports, data, signal)
  yield* writeExport(rest, { ...of, data: rest.data, skipped }, signal)
}

/** Throws EDANGLING, ECORRUPT, EIO (with the key of what cannot be read), ECANCELED. The stream is then not
 *  whole, and says so by having no end; where a part of it was given already, the error is its last bytes. */
export async function* writeExport(
  ports: ReadPorts,
  header: Header,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { content, nodes } = ports
  using hash = new StreamHash()
  let begun = false
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
  try {
    for await (const { ref, kind } of walk.records(nodes, header.data)) {
      if (signal?.aborted) throw canceled(signal)
      const bytes = await (kind === 'node' ? content.loadNode(ref) : content.load(ref))
      parts.push(encodeRecordHead(kind, bytes.length), bytes)
      count++
      size += bytes.length
      held += bytes.length
      if (held < exportChunkSize) continue
      yield take()
      begun = true
    }
  } catch (error) {
    const named = await namedError(ports, header.data, error)
    if (begun && named) yield Buffer.concat([...parts, encodeFailure(named)])
    throw named ?? error
  }
  parts.push(encodeEnd({ count, size }))
  const last = take()
  yield Buffer.concat([last, hash.digest()])
}

/** Error that names the key that cannot be read; undefined where the export ended for another reason. */
async function namedError(
  { content, nodes }: ReadPorts,
  data: Dir,
  error: unknown,
): Promise<TailraceError | undefined> {
  if (!(error instanceof TailraceError) || !damageCodes.has(error.code)) return undefined
  const walk = {
    nodes,
    findings: { clean: new Clean(), damages: 0 },
    damaged: new Damaged(),
    findingsMax: 1,
    // Told so by name, without its bytes, but for the one that was met.
    checkBlob: async (ref: Blobref) => {
      if (error.message.includes(ref)) await content.load(ref)
    },
  }
  const [damage] = await audit(walk, data, rootKey).catch(() => [])
  const key = damage && (damage.key === rootKey ? '/' : damage.key)
  const where = key === undefined ? '' : `${JSON.stringify(key)} cannot be read: `
  const message = `${where}${error.message}; the export is not whole; "tailrace fsck" lists all that is damaged, skipDamaged (--skip-damaged) leaves it out`
  return new TailraceError(error.code, message, { cause: error })
}
