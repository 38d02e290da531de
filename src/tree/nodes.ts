/** Tree nodes by ref: read and decoded once, and the collector of new ones. See rfc/5.
 *  Invariant: a node that leaves here was hashed and checked, or made here. Nodes of a writer that is
 *  still in use are always readable, however small the cache. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashNode } from '../blob/hash.js'
import { ByteCache } from '../content/cache.js'
import type { NodeSource } from '../content/content.js'
import { decodeNode, encodeNode, type Node } from './node.js'

/** Bytes of memory of the decoded nodes that are kept. */
export const nodesSizeDefault = 32 * 1024 * 1024
/** What a decoded node takes for each byte of its encoding, measured: its entries are objects in a
 *  directory, and views of the encoding in an array. */
const costOfKind: Readonly<Record<Node['kind'], number>> = {
  root: 5,
  leaf: 5,
  branch: 5,
  open: 2,
  page: 2,
}

/** Where new nodes go; gives the node's ref. */
export type NodeSink = {
  write(node: Node): Blobref
}

/** Names nodes without keeping them: for refs of arrays that nobody stores. */
export const hashOnly: NodeSink = {
  write: (node) => hashNode(encodeNode(node)),
}

export class Nodes {
  readonly #source: NodeSource
  readonly #decoded: ByteCache<Blobref, Node>
  /** Those that are not disposed of: their nodes may not be stored yet. */
  readonly #writers = new Set<NodeWriter>()

  /** `cacheSize` in bytes of memory. */
  constructor(source: NodeSource, options?: { readonly cacheSize?: number }) {
    this.#source = source
    this.#decoded = new ByteCache(options?.cacheSize ?? nodesSizeDefault)
  }

  /** The node if it is in memory. Throws ECORRUPT if it is there and not well formed. */
  peek(ref: Blobref): Node | undefined {
    const decoded = this.#decoded.get(ref)
    if (decoded) return decoded
    const bytes = this.#unsaved(ref) ?? this.#source.peekNode(ref)
    return bytes && this.#decode(ref, bytes)
  }

  /** Throws EDANGLING (a tree names it, it is not there), ECORRUPT (with what is wrong), EIO. */
  async load(ref: Blobref): Promise<Node> {
    return this.peek(ref) ?? this.#decode(ref, await this.#source.loadNode(ref))
  }

  /** Makes the nodes of a writer readable until `detach`. Called by the writer. */
  attach(writer: NodeWriter): void {
    this.#writers.add(writer)
  }

  detach(writer: NodeWriter): void {
    this.#writers.delete(writer)
  }

  /** REQUIRES: `ref` is the hash of the node's encoding, of `size` bytes. */
  keep(ref: Blobref, node: Node, size: number): void {
    this.#decoded.set(ref, node, size * costOfKind[node.kind])
  }

  #unsaved(ref: Blobref): Uint8Array | undefined {
    for (const writer of this.#writers) {
      const bytes = writer.bytesOf(ref)
      if (bytes) return bytes
    }
    return undefined
  }

  #decode(ref: Blobref, bytes: Uint8Array): Node {
    const node = decodeNode(bytes)
    this.keep(ref, node, bytes.length)
    return node
  }
}

/** The new nodes of one commit, readable through `nodes` until the writer is disposed of. */
export class NodeWriter implements NodeSink, Disposable {
  readonly #nodes: Nodes
  readonly #blobs = new Map<Blobref, Blob>()

  constructor(nodes: Nodes) {
    this.#nodes = nodes
    nodes.attach(this)
  }

  /** Each once, children before the parents that name them. */
  get blobs(): readonly Blob[] {
    return [...this.#blobs.values()]
  }

  [Symbol.dispose](): void {
    this.#nodes.detach(this)
  }

  write(node: Node): Blobref {
    const bytes = encodeNode(node)
    const ref = hashNode(bytes)
    if (this.#blobs.has(ref)) return ref
    this.#blobs.set(ref, { ref, bytes, kind: 'node' })
    this.#nodes.keep(ref, node, bytes.length)
    return ref
  }

  bytesOf(ref: Blobref): Uint8Array | undefined {
    return this.#blobs.get(ref)?.bytes
  }
}
