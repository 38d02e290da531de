/** Tree nodes by ref, decoded and cached, and the writer of new nodes. See rfc/5.
 *  Invariant: a node that is returned was hashed and checked, or was made here. The nodes of a
 *  writer can be read until the writer is disposed of, however small the cache is. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashNode } from '../blob/hash.js'
import { ByteCache } from '../content/cache.js'
import type { NodeSource } from '../content/content.js'
import { decodeNode, encodeNode, type Node } from './node.js'

/** The default memory of the cached decoded nodes, in bytes. */
const nodesSizeDefault = 32 * 1024 * 1024
/** The measured memory of a decoded node for each byte of its encoding. The entries of a directory
 *  are objects; those of an array are views of the encoding. */
const costOfKind: Readonly<Record<Node['kind'], number>> = {
  root: 5,
  leaf: 5,
  branch: 5,
  open: 2,
  page: 2,
}

/** A sink for new nodes. `write` returns the ref of the node. */
export type NodeSink = {
  write(node: Node): Blobref
}

/** A sink that computes refs but keeps no node, for arrays that nobody stores. */
export const hashOnly: NodeSink = {
  write: (node) => hashNode(encodeNode(node)),
}

/** The nodes of one content store. */
export class Nodes {
  readonly #source: NodeSource
  readonly #decoded: ByteCache<Blobref, Node>
  /** The writers that are not disposed of: their nodes may not be stored yet. */
  readonly #writers = new Set<NodeWriter>()

  /** `cacheSize` is the memory for decoded nodes, in bytes. */
  constructor(source: NodeSource, options?: { readonly cacheSize?: number }) {
    this.#source = source
    this.#decoded = new ByteCache(options?.cacheSize ?? nodesSizeDefault)
  }

  /** Returns a node if it is in memory. Throws ECORRUPT if its bytes are in
   *  memory but not well formed. */
  peek(ref: Blobref): Node | undefined {
    const decoded = this.#decoded.get(ref)
    if (decoded) return decoded
    const bytes = this.#unsaved(ref) ?? this.#source.peekNode(ref)
    return bytes && this.#decode(ref, bytes)
  }

  /** Loads a node. Throws EDANGLING (it is not stored), ECORRUPT (the message
   *  says what is wrong), EIO. */
  async load(ref: Blobref): Promise<Node> {
    return this.peek(ref) ?? this.#decode(ref, await this.#source.loadNode(ref))
  }

  /** Makes the nodes of a writer readable until `detach`. Called by the writer. */
  attach(writer: NodeWriter): void {
    this.#writers.add(writer)
  }

  /** Ends what `attach` began. Called by the writer. */
  detach(writer: NodeWriter): void {
    this.#writers.delete(writer)
  }

  /** Puts a decoded node into the cache. REQUIRES: `ref` is the hash of its
   *  encoding, which has `size` bytes. */
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

/** Gathers the new nodes of one commit. They can be read through `nodes` until
 *  the writer is disposed of. */
export class NodeWriter implements NodeSink, Disposable {
  readonly #nodes: Nodes
  readonly #blobs = new Map<Blobref, Blob>()

  constructor(nodes: Nodes) {
    this.#nodes = nodes
    nodes.attach(this)
  }

  /** The new nodes, each once, children before the parents that name them. */
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

  /** Returns the bytes of a node of this writer; undefined if it has none with this ref. */
  bytesOf(ref: Blobref): Uint8Array | undefined {
    return this.#blobs.get(ref)?.bytes
  }
}
