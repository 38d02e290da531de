/** Checks that the blobs and nodes which a written treeobj names are stored, and have the counts
 *  and sizes that it says. Runs before the commit loop, in batches. See rfc/18, rules 8 and 9.
 *  Invariant: from the check on, collections spare all that a checked treeobj reaches, down
 *  to its last blob. */

import { setImmediate } from 'node:timers/promises'
import type { Blobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import { canceled, isCode, TailraceError } from '../error.js'
import { type AppendArray, openArray } from '../tree/array.js'
import { entriesOf, offsetAt } from '../tree/array-read.js'
import { isDirNode } from '../tree/dir-node.js'
import type { Node } from '../tree/node.js'
import type { Nodes } from '../tree/nodes.js'
import type { Base, Dir, Treeobj, Valref } from '../treeobj/treeobj.js'
import { ReachedSet, reachable } from '../walk/reach.js'
import type { Prepared, PreparedOp } from './apply.js'
import type { RawDir, RawLog, TreeobjContent, TreeobjOp } from './treeobj.js'

/** The number of refs that the engine is asked about at once. */
const batchMax = 1_024

type CheckPorts = {
  readonly content: Content
  readonly nodes: Nodes
  readonly signal: AbortSignal | undefined
  /** Notes refs in an upload, before the engine is asked for them (rfc/14, rule 12). */
  readonly note: (refs: readonly Blobref[]) => void
}

/** Checks each written treeobj of a transaction, and returns the transaction with the checked
 *  ones. Throws EINVAL, ENOENT (a blob or node is not stored), ECORRUPT, EIO, ECANCELED, with the
 *  op in `failed`. */
export async function checkTreeobjs(ports: CheckPorts, prepared: Prepared): Promise<Prepared> {
  const ops: PreparedOp[] = []
  for (const [index, op] of prepared.ops.entries()) {
    try {
      ops.push(op.op === 'treeobj' ? await checked(ports, op) : op)
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      const { code, message } = error
      throw new TailraceError(code, message, { cause: error, failed: { op: index } })
    }
  }
  return { ...prepared, ops }
}

async function checked(ports: CheckPorts, op: TreeobjOp): Promise<TreeobjOp> {
  if (op.content.kind !== 'raw') return op
  const { raw, dangling } = op.content
  switch (raw.type) {
    case 'whole':
      return { ...op, content: { kind: 'treeobj', treeobj: raw.treeobj } }
    case 'dirref':
      return { ...op, content: await directory(ports, raw, dangling) }
    case 'log':
      return {
        ...op,
        content: raw.base
          ? await trimmed(ports, raw, raw.base, dangling)
          : await log(ports, raw, dangling),
      }
    default:
      return raw satisfies never
  }
}

async function directory(
  ports: CheckPorts,
  raw: RawDir,
  dangling: boolean,
): Promise<TreeobjContent> {
  const node = await nodeOf(ports, raw.ref, dangling)
  if (node && (!isDirNode(node) || (node.kind === 'branch' && node.items.length < 2))) {
    throw wrong('data[0]', 'names a node that is no directory')
  }
  const keys = total('count', raw.count, node?.keys)
  const size = total('size', raw.size, node?.size)
  const dir: Dir = { type: 'dir', ref: raw.ref, keys, size }
  await spare(ports, dir, dangling)
  return { kind: 'treeobj', treeobj: dir }
}

async function nodeOf(
  { nodes }: CheckPorts,
  ref: Blobref,
  dangling: boolean,
): Promise<Node | undefined> {
  try {
    return await nodes.load(ref)
  } catch (error) {
    if (dangling && isCode(error, 'EDANGLING')) return undefined
    if (isCode(error, 'EDANGLING')) throw missing(ref)
    // A stored blob of a value, which is no node.
    if (isCode(error, 'ECORRUPT')) throw wrong('data[0]', 'names no node', error)
    throw error
  }
}

async function log(ports: CheckPorts, raw: RawLog, dangling: boolean): Promise<TreeobjContent> {
  const { refs, sizes, more, attrs } = raw
  const stored = await sizesOf(ports, refs, dangling)
  let size = 0
  const blobs = refs.map((ref, index) => {
    const given = sizes?.[index]
    const bytes = total(`sizes[${index}]`, given, stored.get(ref))
    size += bytes
    return { ref, size: bytes, more: more?.[index] ?? false }
  })
  total('size', raw.size, size)
  return { kind: 'blobs', blobs, attrs }
}

/** Returns the size of each blob that is stored. Throws ENOENT for others, unless `dangling`;
 *  EINVAL for a node. */
async function sizesOf(
  ports: CheckPorts,
  refs: readonly Blobref[],
  dangling: boolean,
): Promise<ReadonlyMap<Blobref, number>> {
  const { content } = ports
  const sizes = new Map<Blobref, number>()
  const distinct = [...new Set(refs)]
  for (let at = 0; at < distinct.length; at += batchMax) {
    await breathe(ports)
    const batch = distinct.slice(at, at + batchMax)
    ports.note(batch)
    const there = await content.has(batch)
    for (const [index, ref] of batch.entries()) {
      if (there[index]) {
        const bytes = await content.find(ref)
        if (!bytes) throw wrong(`data[${refs.indexOf(ref)}]`, 'names a node, no blob')
        sizes.set(ref, bytes.length)
      } else if (!dangling) throw missing(ref)
    }
  }
  return sizes
}

async function trimmed(
  ports: CheckPorts,
  raw: RawLog,
  given: NonNullable<RawLog['base']>,
  dangling: boolean,
): Promise<TreeobjContent> {
  const { ref, ...base } = given
  const { attrs, count = 0, size = 0 } = raw
  const valref: Valref = { type: 'valref', ref, count, size, base, ...(attrs && { attrs }) }
  const array = await arrayOf(ports, valref)
  await checkBase(ports, array, base)
  let at = 0
  for await (const entry of entriesOf(ports.nodes, array, base.count, count)) {
    if (entry.ref !== raw.refs[at]) throw wrong(`data[${at}]`, 'is not what the array has there')
    total(`sizes[${at}]`, raw.sizes?.[at], entry.size)
    if (entry.more !== (raw.more?.[at] ?? false)) {
      throw wrong(`more[${at}]`, 'is not what the array has there')
    }
    at++
  }
  await spare(ports, valref, dangling)
  return { kind: 'treeobj', treeobj: valref }
}

async function arrayOf({ nodes }: CheckPorts, valref: Valref): Promise<AppendArray> {
  try {
    return await openArray(nodes, valref)
  } catch (error) {
    if (isCode(error, 'EDANGLING')) throw missing(valref.ref)
    if (!isCode(error, 'ECORRUPT')) throw error
    throw wrong('ref', 'names no array of that count and size', error)
  }
}

async function checkBase({ nodes }: CheckPorts, array: AppendArray, base: Base): Promise<void> {
  if (base.count > array.count) throw wrong('base.count', 'is at most the count')
  total('base.size', base.size, await offsetAt(nodes, array, base.count))
}

/** Notes all that a treeobj reaches, and checks that it is stored. Throws ENOENT,
 *  unless `dangling`. */
async function spare(ports: CheckPorts, treeobj: Treeobj, dangling: boolean): Promise<void> {
  const seen = new ReachedSet()
  const batch: Blobref[] = []
  const ask = async () => {
    await breathe(ports)
    ports.note(batch)
    const there = await ports.content.has(batch)
    const lost = batch.find((_, index) => !there[index])
    if (lost && !dangling) throw missing(lost)
    batch.length = 0
  }
  const pass = (ref: Blobref, error: unknown) => {
    if (!isCode(error, 'EDANGLING')) throw error
    if (!dangling) throw missing(ref)
  }
  for await (const reached of reachable(ports.nodes, treeobj, seen.has, pass)) {
    if (!reached.partial) seen.add(reached)
    batch.push(reached.ref)
    if (batch.length === batchMax) await ask()
  }
  await ask()
}

/** Waits for the next turn of the event loop. Throws ECANCELED. */
async function breathe({ signal }: CheckPorts): Promise<void> {
  await setImmediate()
  if (signal?.aborted) throw canceled(signal)
}

/** Returns a total that the treeobj gives, or that is known from what is stored. Throws EINVAL if
 *  they differ, or if there is neither. */
function total(field: string, given: number | undefined, stored: number | undefined): number {
  if (given === undefined && stored === undefined) {
    throw wrong(field, 'is needed where what is named is not stored')
  }
  if (given !== undefined && stored !== undefined && given !== stored) {
    throw wrong(field, `is ${stored}, not ${given}`)
  }
  return stored ?? given ?? 0
}

function missing(ref: Blobref): TailraceError {
  return new TailraceError(
    'ENOENT',
    `${ref} is not stored: store it first, or say dangling (the owner only)`,
  )
}

function wrong(field: string, what: string, cause?: unknown): TailraceError {
  return new TailraceError('EINVAL', `treeobj.${field} ${what}`, { cause })
}
