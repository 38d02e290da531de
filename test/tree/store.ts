/** A store of nodes for the tests of trees: what a writer made, in a Map. It counts what is loaded. */

import type { Blob } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { hashBlob } from '../../src/blob/hash.js'
import type { NodeSource } from '../../src/content/content.js'
import { TailraceError } from '../../src/error.js'
import type { ArrayBlob } from '../../src/tree/array.js'
import { listDir } from '../../src/tree/dir.js'
import { editDir } from '../../src/tree/dir-edit.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { type Dir, emptyDir, type Treeobj, type Val } from '../../src/treeobj/treeobj.js'

export class NodeStore implements NodeSource {
  readonly blobs = new Map<Blobref, Uint8Array>()
  loads = 0

  peekNode(): undefined {
    return undefined
  }

  async loadNode(ref: Blobref): Promise<Uint8Array> {
    this.loads++
    const bytes = this.blobs.get(ref)
    if (!bytes) throw new TailraceError('EDANGLING', `${ref} is not stored`)
    return bytes
  }

  add(blobs: readonly Blob[]): void {
    for (const blob of blobs) this.blobs.set(blob.ref, blob.bytes)
  }

  /** Nodes that hold nothing in memory yet, so that every read is one of this store. */
  cold(): Nodes {
    this.loads = 0
    return new Nodes(this)
  }
}

/** Applies edits and stores their nodes. */
export async function edited(
  store: NodeStore,
  dir: Dir,
  edits: Iterable<readonly [string, Treeobj | undefined]>,
): Promise<Dir> {
  const nodes = store.cold()
  const writer = new NodeWriter(nodes)
  const next = await editDir(nodes, writer, dir, new Map(edits))
  store.add(writer.blobs)
  return next
}

export function dirOf(
  store: NodeStore,
  entries: Iterable<readonly [string, Treeobj]>,
): Promise<Dir> {
  return edited(store, emptyDir, entries)
}

export async function namesOf(nodes: Nodes, dir: Dir, after?: string): Promise<string[]> {
  const names: string[] = []
  const options = after === undefined ? {} : { after }
  for await (const [name] of listDir(nodes, dir, options)) names.push(name)
  return names
}

export function val(text: string): Val {
  return { type: 'val', data: Buffer.from(text) }
}

/** A blob that differs with its seed, of the seed's own length. */
export function blobOf(seed: string, more = false): ArrayBlob {
  return { ref: hashBlob(Buffer.from(seed)), size: Buffer.byteLength(seed), more }
}
