/** Repairs a checked store: in the newest tree of each namespace, damaged values move to
 *  `lost+found`, with notes of what was lost, in one commit for all namespaces. See rfc/15, rules
 *  15 and 16.
 *  Invariant: undamaged keys, older roots and pins stay as they are. A namespace whose newest root
 *  cannot be read goes back to the newest root that can. */

import type { Moved, Repaired } from '../api/check.js'
import type { Environment } from '../base/environment.js'
import { type Blob, cut } from '../blob/blob.js'
import { hashBlob } from '../blob/hash.js'
import { Draft } from '../draft/draft.js'
import { recordSizeMax } from '../draft/meta.js'
import type { Engine, Part, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import { endLife } from '../present/expiry.js'
import { closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { NodeWriter } from '../tree/nodes.js'
import { readRoot, type Trees, writeRoot } from '../tree/root.js'
import { rootKey, shownKey } from '../treeobj/key.js'
import { emptyDir, inlineSizeMax, type Treeobj } from '../treeobj/treeobj.js'
import { attempt } from '../walk/inspect.js'
import { type Mended, type MendPorts, mendDir } from '../walk/mend.js'
import type { Check, Hurt } from './fsck.js'
import { LostFound } from './lost-found.js'

/** Repairs all namespaces that the check found damaged. Throws ENOSPC, EIO, EBUSY (another user of
 *  a shared engine moved a root meanwhile), ECORRUPT (see `storeProved`). */
export async function repair(
  engine: Engine,
  environment: Environment,
  check: Check,
): Promise<Repaired[]> {
  const repaired: (Repaired & { readonly part: Part })[] = []
  for (const hurt of check.hurt) repaired.push(await mend(engine, environment, check, hurt))
  const outcomes = await engine.commit(repaired.map(({ part }) => part))
  for (const outcome of outcomes) {
    if (outcome.status === 'unavailable') throw outcome.error
    if (outcome.status === 'conflict') {
      throw new TailraceError('EBUSY', 'a root moved while the store was repaired: check it again')
    }
  }
  return repaired.map(({ namespace, seq, moved }) => ({ namespace, seq, moved }))
}

async function mend(
  engine: Engine,
  environment: Environment,
  check: Check,
  hurt: Hurt,
): Promise<Repaired & { readonly part: Part }> {
  const { head } = hurt
  const { nodes } = check
  const { name, incarnation } = head.namespace
  const before = hurt.trees
    ? { trees: hurt.trees, from: undefined }
    : await older(engine, check, hurt)
  const ports: MendPorts = {
    nodes,
    whole: check.whole,
    checkBlob: (ref, size) => check.checkBlob(ref, size),
    store: (blobs) => storeProved(engine, blobs),
    done: new Map(),
  }
  const mended: Mended[] = []
  const data = (await mendDir(ports, before.trees.data, rootKey, mended)) ?? emptyDir
  const metaMended: Mended[] = []
  const wholeUpTo = recordSizeMax / inlineSizeMax
  const metaPorts = { ...ports, done: new Map(), wholeUpTo }
  const meta = (await mendDir(metaPorts, before.trees.meta, rootKey, metaMended)) ?? emptyDir
  using writer = new NodeWriter(nodes)
  const drafts = { data: new Draft(nodes, writer, data), meta: new Draft(nodes, writer, meta) }
  const lostFound = new LostFound(drafts.data)
  const blobs: Blob[] = []
  const moved: Moved[] = []
  const note = (value: unknown): Treeobj => noteOf(value, writer, blobs)
  for (const each of mended) {
    const kept = 'kept' in each ? each.kept : undefined
    if ('was' in each) await endLife({ nodes, meta: drafts.meta }, each.key)
    const at = await lostFound.place(each.key || '.root', kept, note(noteFor(each)))
    moved.push({ key: shownKey(each.key), ...at })
  }
  if (metaMended.length > 0) {
    const lost = metaMended.map(({ key, losses }) => ({ key, losses }))
    moved.push({ key: 'meta', ...(await lostFound.place('.meta', undefined, note(lost))) })
  }
  if (before.from) {
    const { seq } = before.from
    const said = { lost: head.root.seq, restored: seq < 0 ? null : seq }
    moved.push({ key: '/', ...(await lostFound.place('.root', undefined, note(said))) })
  }
  const tree = await drafts.data.flush()
  const ref = writeRoot(writer, { data: tree, meta: await drafts.meta.flush() })
  const all = [...blobs, ...writer.blobs]
  await storeProved(engine, all)
  const root: Root = {
    seq: head.root.seq + 1,
    ref,
    tx: environment.id(),
    time: environment.now(),
    epoch: head.root.epoch,
    ...sizesOf(head.root, all, tree.size),
  }
  const expected = head.revision
  const part = { namespace: name, incarnation, expected, root, blobs: [] }
  return { namespace: name, seq: root.seq, moved, part }
}

/** Stores blobs, and reads them back. The engine does not store a blob again that is there already,
 *  even if that one is damaged. Throws ECORRUPT then. */
async function storeProved(engine: Engine, blobs: readonly Blob[]): Promise<void> {
  if (blobs.length === 0) return
  await engine.put(blobs)
  for (const { ref, bytes } of blobs) {
    const [stored] = await engine.load([ref])
    if (stored && Buffer.compare(stored, bytes) === 0) continue
    const message = `the repair needs ${ref}, of which the store has a damaged copy: nothing was repaired; export what can be read, or restore a copy`
    throw new TailraceError('ECORRUPT', message)
  }
}

/** Returns the trees of the newest root of the history that can be read. There may be damage below
 *  them, which the caller mends. */
async function older(
  engine: Engine,
  check: Check,
  { head }: Hurt,
): Promise<{ readonly trees: Trees; readonly from: Root | undefined }> {
  let from: Root | undefined
  let trees: Trees = { data: emptyDir, meta: emptyDir }
  await attempt(async () => {
    for await (const root of engine.history(head.namespace.name, -1)) {
      const read = await attempt(() => readRoot(check.nodes, root.ref))
      if ('error' in read) continue
      from = root
      trees = read.value
    }
  })
  // The root may be below the floor, where the check did not look.
  await check.lookAt(trees)
  return { trees, from: from ?? { ...head.root, seq: -1 } }
}

function noteFor(mended: Mended): unknown {
  const { key, losses } = mended
  if (!('was' in mended)) return { key: shownKey(key), lost: losses }
  const { count, size, base, ref } = mended.was
  const kept = { count: mended.kept?.count ?? 0, size: mended.kept?.size ?? 0 }
  return { key, was: { count, size, ref, ...(base ? { base } : {}) }, kept, lost: losses }
}

/** Makes the value of a note, in JSON. Blobs that it needs are added to `blobs`. */
function noteOf(value: unknown, writer: NodeWriter, blobs: Blob[]): Treeobj {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`)
  const attrs = { contentType: 'application/json' }
  if (bytes.length <= inlineSizeMax) return { type: 'val', data: bytes, attrs }
  let array = emptyArray
  const pieces = cut(bytes)
  for (const [index, piece] of pieces.entries()) {
    const ref = hashBlob(piece)
    blobs.push({ ref, bytes: piece })
    const more = index < pieces.length - 1
    array = pushBlob(writer, array, { ref, size: piece.length, more })
  }
  return closeArray(writer, array, attrs)
}

/** Returns the sizes by which retention judges a history, if the root before has them. */
function sizesOf(before: Root, blobs: readonly Blob[], size: number): Partial<Root> {
  if (before.written === undefined) return {}
  const added = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0)
  return { written: before.written + added, size }
}
