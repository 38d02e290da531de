/** Exports a namespace's tree as a stream that proves itself: the whole tree, or its difference
 *  from an older root. See rfc/15, rules 1 to 6, 18 and 19.
 *  Invariant: the stream comes from one root, which is held while the stream is read. It has
 *  nothing of `meta`. Memory: one chunk, and that of the walk. */

import type { ExportOptions } from '../api/upkeep.js'
import type { Blobref } from '../blob/blobref.js'
import { StreamHash } from '../blob/hash.js'
import type { Content } from '../content/content.js'
import { type Code, canceled, TailraceError } from '../error.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import type { Nodes } from '../tree/nodes.js'
import { rootKey, shownKey } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'
import { audit, Damaged } from '../walk/audit.js'
import { Clean } from '../walk/inspect.js'
import { encodeFailure } from './failure.js'
import { encodeEnd, encodeHead, encodeRecordHead, type Header } from './format.js'
import { readableOf } from './skip.js'
import { ExportWalk } from './walk.js'

/** The size from which gathered records are handed on as a chunk, in bytes. A chunk is larger by
 *  one record at most. */
const exportChunkSize = 256 * 1024

/** The codes of errors of data that cannot be read. */
const damageCodes: ReadonlySet<Code> = new Set(['ECORRUPT', 'EDANGLING', 'EIO'])

type ExportPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
}

type ReadPorts = {
  readonly content: Pick<Content, 'load' | 'loadNode'>
  readonly nodes: Nodes
}

/** Exports a tree, at the consumer's pace; see `Upkeep.export`. Throws ENONS, ECOMPACTED, EINVAL
 *  (`since` is newer than the exported root, or there is no such seq), and what `writeExport`
 *  throws. */
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

/** Writes the stream of a tree. Throws EDANGLING, ECORRUPT, EIO (with the key that cannot be read),
 *  ECANCELED. The stream then has no end, so no reader takes it for whole. If a chunk was yielded
 *  before, the error is also the last bytes of the stream. */
async function* writeExport(
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
    // A hash takes a bounded number of bytes at once, and a chunk may be larger.
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

/** Returns an error that names the key that cannot be read. Returns undefined if the export ended
 *  for another reason than damage. */
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
    // Load only the blob that the error names: the walk looks for its key.
    checkBlob: async (ref: Blobref) => {
      if (error.message.includes(ref)) await content.load(ref)
    },
  }
  const [damage] = await audit(walk, data, rootKey).catch(() => [])
  const key = damage && shownKey(damage.key)
  const where = key === undefined ? '' : `${JSON.stringify(key)} cannot be read: `
  const message = `${where}${error.message}; the export is not whole; "tailrace fsck" lists all that is damaged, skipDamaged (--skip-damaged) leaves it out`
  return new TailraceError(error.code, message, { cause: error })
}
