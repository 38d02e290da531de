/** Makes a smaller tree without the entries that cannot be read, for an export that leaves them
 *  out. See rfc/15, rule 19.
 *  Invariant: nothing is stored, and nothing of the namespace changes. New nodes of the smaller
 *  tree are in memory only, as many as lie above the damage. Everything that it reaches was read
 *  once. */

import type { Skipped } from '../api/upkeep.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { Content, NodeSource } from '../content/content.js'
import { canceled, TailraceError } from '../error.js'
import { Nodes } from '../tree/nodes.js'
import { type Key, rootKey, shownKey } from '../treeobj/key.js'
import { type Dir, emptyDir } from '../treeobj/treeobj.js'
import { audit, Damaged } from '../walk/audit.js'
import { Clean } from '../walk/inspect.js'
import { mendDir } from '../walk/mend.js'
import { skippedMax } from './format.js'

/** The readable part of a tree, the source of its nodes, and the entries left out, one for each
 *  key. */
type Readable = {
  readonly data: Dir
  readonly nodes: Nodes
  readonly content: Pick<Content, 'load' | 'loadNode'>
  readonly skipped: readonly Skipped[]
}

/** Reads the whole tree, and returns its readable part. Throws ECORRUPT (more than `skippedMax`
 *  places are damaged), ECANCELED, ECLOSED. */
export async function readableOf(
  ports: { readonly content: Content; readonly nodes: Nodes },
  data: Dir,
  signal?: AbortSignal,
): Promise<Readable> {
  const { content } = ports
  const made = new Map<Blobref, Uint8Array>()
  const source: NodeSource = {
    peekNode: (ref) => made.get(ref),
    loadNode: async (ref) => made.get(ref) ?? content.loadNode(ref),
  }
  const nodes = new Nodes(source)
  const checkBlob = async (ref: Blobref, size: number) => {
    if (signal?.aborted) throw canceled(signal)
    const { length } = await content.load(ref)
    if (length !== size)
      throw new TailraceError('ECORRUPT', `${ref} has ${length} bytes, not ${size}`)
  }
  const findings = { clean: new Clean(), damages: 0 }
  const walk = { nodes, findings, damaged: new Damaged(), findingsMax: skippedMax + 1, checkBlob }
  const damages = await audit(walk, data, rootKey)
  if (damages.length === 0) return { data, ...ports, skipped: [] }
  if (damages.length > skippedMax) {
    const message = `more than ${skippedMax} places are damaged: repair a copy (tailrace fsck --repair), and export that`
    throw new TailraceError('ECORRUPT', message)
  }
  const store = async (blobs: readonly Blob[]) => {
    for (const { ref, bytes } of blobs) made.set(ref, bytes)
  }
  const mending = { nodes, whole: findings.clean, checkBlob, store, done: new Map() }
  const rest = (await mendDir(mending, data, rootKey, [])) ?? emptyDir
  const first = new Map<Key, Skipped>()
  for (const { key, lost, others } of damages) {
    if (first.has(key)) continue
    const { code, message } = lost.error
    const more = others > 0 ? ` (and under ${others} other keys)` : ''
    first.set(key, { key: shownKey(key), code, message: `${message}${more}` })
  }
  const load = (ref: Blobref) => content.load(ref)
  return {
    data: rest,
    nodes,
    content: { load, loadNode: source.loadNode },
    skipped: [...first.values()],
  }
}
