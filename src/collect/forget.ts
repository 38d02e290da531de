/** Forgets a key: it removes the key from the current tree, from every retained root and from every
 *  pin of its namespace, so that the next collection frees its bytes. See rfc/14, rules 21 to 24.
 *  Invariant: while roots are rewritten the commit loop of the namespace stands still, and nobody
 *  pins. A rewritten root keeps all its other keys, its seq, time and tx, and gets another ref. */

import type { Pin } from '../api/history.js'
import { primary, reservedNamespaces } from '../api/namespace.js'
import type { Scope } from '../api/transaction.js'
import type { Forgotten } from '../api/upkeep.js'
import type { Blobref } from '../blob/blobref.js'
import { alone } from '../commit/alone.js'
import type { Committer, Open } from '../commit/committer.js'
import { type Engine, lifeOf, type Rewritten } from '../engine/engine.js'
import { isCode, TailraceError } from '../error.js'
import { updateCollection } from '../kvs/configure.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import type { LiveNamespace } from '../past/namespace.js'
import type { Pinning } from '../past/pinning.js'
import { putPin } from '../past/pins.js'
import { prepare } from '../transaction/transaction.js'
import { getEntry } from '../tree/dir.js'
import { editDir } from '../tree/dir-edit.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import { readRoot, writeRoot } from '../tree/root.js'
import { componentsOf, type Key, parseKey } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'

/** The number of roots that are read in one page, and rewritten in one durable write. */
const rewrittenMax = 256

/** The ports of `forget` and `discard`. */
export type ForgetPorts = {
  readonly engine: Engine
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
  readonly pinning: Pinning
}

/** Forgets a key, and all below it, and returns how much was changed. Throws ENOENT (no root and no
 *  pin has the key), EINVAL (the root directory, or a key behind a link), EPERM (a reserved
 *  namespace), ENONS, EBUSY, ENOSPC, EIO. */
export async function forget(
  ports: ForgetPorts,
  name: string,
  { namespace = primary }: Scope = {},
): Promise<Forgotten> {
  const key = parseKey(name)
  if (key === '') {
    throw new TailraceError('EINVAL', 'the root directory is not forgotten: remove the namespace')
  }
  if (reservedNamespaces.has(namespace)) {
    throw new TailraceError('EPERM', `the namespace ${namespace} is written by the store only`)
  }
  const open = ports.spaces.find(namespace)
  const forgotten = await ports.pinning.exclusively(() => forgetAlone(ports, open, key))
  if (forgotten.roots + forgotten.pins > 0 || forgotten.seq !== undefined) return forgotten
  throw new TailraceError('ENOENT', `${key} is in no root and no pin of ${namespace}`)
}

async function forgetAlone(ports: ForgetPorts, open: Open, key: Key): Promise<Forgotten> {
  const system = ports.spaces.find('system').committer
  // The forget is counted before, for the case of a crash in the middle of it, and after, for a
  // collection that began meanwhile.
  const note = () => updateCollection(system, (now) => ({ ...now, forgets: now.forgets + 1 }))
  await note()
  try {
    return await alone(ports.engine, [open.committer], async (commit) => {
      // A commit of its own removes the key from the current tree, if it is there.
      const prepared = prepare({ ops: [{ op: 'unlink', key, recursive: true }] })
      const there = await has(ports.nodes, await open.live.data(), key)
      const committed = there ? await commit(prepared) : undefined
      const roots = await rewriteRoots(ports, open.live, key)
      const pins = await rewritePins(ports, open.live, [key], system)
      ports.spaces.past.kept.raise(open.live, open.live.root.seq + 1)
      ports.spaces.past.holds.forgotten()
      return { roots, pins, ...(committed && { seq: committed.seq }) }
    })
  } finally {
    await note()
  }
}

/** True if the key is in the tree. Throws EINVAL if a link is on the way, since the
 *  value is at another key. */
async function has(nodes: Nodes, data: Dir, key: Key): Promise<boolean> {
  let dir = data
  const names = componentsOf(key)
  for (const [depth, name] of names.entries()) {
    const entry = await getEntry(nodes, dir, name)
    if (!entry) return false
    if (depth === names.length - 1) return true
    if (entry.type === 'symlink') {
      const message = `${key} leads through a link to ${entry.target}: forget the key that it leads to`
      throw new TailraceError('EINVAL', message)
    }
    if (entry.type !== 'dir') return false
    dir = entry
  }
  return false
}

/** Removes a key from every retained root of a namespace. Returns the
 *  number of roots that had it. */
async function rewriteRoots(
  { engine, nodes }: ForgetPorts,
  live: LiveNamespace,
  key: Key,
): Promise<number> {
  const { seq: newest } = live.root
  let count = 0
  for (let after = (await live.retention.floor()) - 1; after < newest; ) {
    const page = await live.roots.page(after, rewrittenMax)
    using writer = new NodeWriter(nodes)
    const rewritten: Rewritten[] = []
    for (const root of page) {
      const ref = await rewrite(nodes, writer, root.ref, [key])
      if (ref) rewritten.push({ seq: root.seq, ref })
    }
    if (rewritten.length > 0) {
      await engine.rewrite(live.name, live.record.incarnation, rewritten, writer.blobs)
      live.rewritten(rewritten)
    }
    count += rewritten.length
    after = page.at(-1)?.seq ?? newest
  }
  return count
}

/** Removes keys from every pin of a namespace. Returns the number of pins that had one of them.
 *  Throws what a commit throws. REQUIRES: nobody pins meanwhile. */
export async function rewritePins(
  { nodes, spaces }: ForgetPorts,
  live: LiveNamespace,
  keys: readonly Key[],
  system: Committer,
): Promise<number> {
  let count = 0
  for (const pin of await spaces.past.pins.list()) {
    if (lifeOf(pin.incarnation) !== lifeOf(live.record.incarnation)) continue
    using writer = new NodeWriter(nodes)
    const ref = await rewrite(nodes, writer, pin.ref, keys)
    if (!ref) continue
    const changed: Pin = { ...pin, ref }
    const prepared = prepare({ ops: [putPin(changed)] })
    await system.submit({ ...prepared, blobs: [...prepared.blobs, ...writer.blobs] })
    count++
  }
  return count
}

/** Writes a root without the keys, and returns its ref; undefined if the root has none of them, or
 *  if it cannot be read any more. */
async function rewrite(
  nodes: Nodes,
  writer: NodeWriter,
  ref: Blobref,
  keys: readonly Key[],
): Promise<Blobref | undefined> {
  try {
    const { data, meta } = await readRoot(nodes, ref)
    let left = data
    for (const key of keys) left = (await without(nodes, writer, left, componentsOf(key))) ?? left
    return left === data ? undefined : writeRoot(writer, { data: left, meta })
  } catch (error) {
    if (isCode(error, 'EDANGLING')) return undefined
    throw error
  }
}

async function without(
  nodes: Nodes,
  writer: NodeWriter,
  dir: Dir,
  [name = '', ...below]: readonly string[],
): Promise<Dir | undefined> {
  const entry = await getEntry(nodes, dir, name)
  if (!entry) return undefined
  if (below.length === 0) return editDir(nodes, writer, dir, new Map([[name, undefined]]))
  if (entry.type !== 'dir') return undefined
  const left = await without(nodes, writer, entry, below)
  return left && editDir(nodes, writer, dir, new Map([[name, left]]))
}
