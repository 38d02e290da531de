/** Uploads: blobs that are stored before a root names them. Puts that stream, imports and owners
 *  who store single blobs make them. See rfc/14, rule 12, and rfc/18, rule 11.
 *  Invariant: every collection that begins before an upload's commit is answered spares the blobs
 *  that the upload has noted. An upload keeps no other blobs, until it has noted
 *  `uploadRefsMax`. */

import type { Environment } from '../base/environment.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
import { RefSet } from '../blob/ref-set.js'
import type { Content } from '../content/content.js'
import { canceled, TailraceError } from '../error.js'
import { type AppendArray, closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'

/** The time for which a blob that its owner stored by itself is kept, in ms. */
export const lentMs = 3_600_000
/** The largest number of such blobs that are kept; the oldest go first. */
export const lentMax = 131_072
/** The largest number of refs that an upload notes, 30 bytes each: enough for a value of 256 GiB. A
 *  larger upload keeps all blobs that were put since it began. */
export const uploadRefsMax = 1_048_576

/** An upload. REQUIRES: it begins before its first put, and is disposed of after its
 *  commit is answered. */
export class Upload implements Disposable {
  readonly #since: number
  readonly #end: (upload: Upload) => void
  readonly #refs = new RefSet()

  constructor(since: number, end: (upload: Upload) => void) {
    this.#since = since
    this.#end = end
  }

  /** The time (monotonic, ms) from which on all puts are kept. Infinity while the upload
   *  notes all its refs. */
  get since(): number {
    return this.#refs.size < uploadRefsMax ? Number.POSITIVE_INFINITY : this.#since
  }

  /** Notes blobs that the upload puts, or needs to be there. REQUIRES: called before they are put,
   *  or before the engine is asked for them. */
  note(refs: Iterable<Blobref>): void {
    for (const ref of refs) {
      if (this.#refs.size === uploadRefsMax) return
      this.#refs.add(ref)
    }
  }

  /** Returns true if the upload has noted a ref. */
  has(ref: Blobref): boolean {
    return this.#refs.has(ref)
  }

  [Symbol.dispose](): void {
    this.#end(this)
  }
}

/** The uploads that were under way when a collection began. */
export type OpenUploads = {
  /** The time (monotonic, ms) from which on all puts are kept. Infinity if only the
   *  blobs of `has` are. */
  readonly since: number
  /** Returns true if one of the uploads has noted a ref, until now. */
  readonly has: (ref: Blobref) => boolean
}

/** The uploads of a store that are under way, and the blobs that owners stored by themselves. */
export class Uploads {
  readonly #environment: Pick<Environment, 'monotonic'>
  readonly #open = new Set<Upload>()
  /** The time (monotonic, ms) until which each single blob is kept, the earliest first. */
  readonly #lent = new Map<Blobref, number>()

  constructor(environment: Pick<Environment, 'monotonic'>) {
    this.#environment = environment
  }

  /** Begins an upload. The caller disposes of it when its commit was answered. */
  begin(): Upload {
    const upload = new Upload(this.#environment.monotonic(), (ended) => this.#open.delete(ended))
    this.#open.add(upload)
    return upload
  }

  /** Returns the uploads that are under way, for a collection that begins in this turn of the event
   *  loop. The engine spares what is put later (rfc/14, rule 10). */
  underWay(): OpenUploads {
    const open = [...this.#open]
    return {
      since: Math.min(...open.map(({ since }) => since)),
      has: (ref) => open.some((upload) => upload.has(ref)),
    }
  }

  /** Keeps a blob for `lentMs`, until its owner names it. REQUIRES: called before the blob is
   *  put. */
  lend(ref: Blobref): void {
    const now = this.#environment.monotonic()
    this.#lent.delete(ref) // to the end of the order
    this.#lent.set(ref, now + lentMs)
    for (const [oldest, until] of this.#lent) {
      if (this.#lent.size <= lentMax && until > now) break
      this.#lent.delete(oldest)
    }
  }

  /** Returns true if a blob that its owner stored by itself is still kept. */
  isLent(ref: Blobref): boolean {
    return (this.#lent.get(ref) ?? 0) > this.#environment.monotonic()
  }
}

/** The largest put, in bytes, that is read from its stream into memory and committed
 *  without an upload. */
const putHeldMax = 1024 * 1024

/** Reads a stream of at most `putHeldMax` bytes to its end. A longer one is returned as a stream of
 *  the same bytes (`rest`). */
export async function holdBack(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ whole: Uint8Array } | { rest: AsyncIterable<Uint8Array> }> {
  const source = chunks[Symbol.asyncIterator]()
  const held: Uint8Array[] = []
  let size = 0
  while (size <= putHeldMax) {
    const next = await source.next()
    if (next.done) return { whole: Buffer.concat(held) }
    held.push(next.value)
    size += next.value.length
  }
  const all = async function* () {
    try {
      yield* held
      for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
    } finally {
      await source.return?.()
    }
  }
  return { rest: all() }
}

/** Stores the blobs of a value and the nodes of its array, and notes them in the upload. All are
 *  durable when it resolves. Throws what the stream throws, ECANCELED, ENOSPC, EIO. */
export async function storeArray(
  content: Content,
  nodes: Nodes,
  chunks: AsyncIterable<Uint8Array>,
  options: {
    readonly upload: Upload
    readonly signal: AbortSignal | undefined
    /** True to write blobs that are stored already, too. */
    readonly anew: boolean
  },
): Promise<AppendArray> {
  const { upload, signal, anew } = options
  using writer = new NodeWriter(nodes)
  let array = emptyArray
  const note = (refs: readonly Blobref[]) => upload.note(refs)
  for await (const blob of content.upload(chunks, signal, note, { anew })) {
    array = pushBlob(writer, array, blob)
  }
  closeArray(writer, array)
  note(writer.blobs.map(({ ref }) => ref))
  await content.put(writer.blobs)
  return array
}

type Signal = { readonly signal?: AbortSignal }

/** Loads a copy of a blob. Undefined where it is not stored. Throws EINVAL, ECORRUPT,
 *  EIO, ECANCELED. */
export async function loadBlob(
  content: Content,
  ref: string,
  { signal }: Signal = {},
): Promise<Uint8Array | undefined> {
  if (signal?.aborted) throw canceled(signal)
  const bytes = await content.find(parseBlobref(ref))
  return bytes && Buffer.from(bytes)
}

/** Stores a single blob. It is durable when it resolves, and kept for `lentMs` although no root
 *  names it. Throws EINVAL, E2BIG, ENOSPC, EIO, ECANCELED. */
export async function storeBlob(
  { content, uploads }: { readonly content: Content; readonly uploads: Uploads },
  bytes: Uint8Array,
  { signal }: Signal = {},
): Promise<Blobref> {
  if (!(bytes instanceof Uint8Array)) throw new TailraceError('EINVAL', 'a blob is bytes')
  if (bytes.length > blobSizeMax) {
    throw new TailraceError('E2BIG', `a blob has at most ${blobSizeMax} bytes: put it as a value`)
  }
  if (signal?.aborted) throw canceled(signal)
  const own = Buffer.from(bytes)
  const ref = hashBlob(own)
  uploads.lend(ref) // before the put: a collection in between would free the blob
  await content.put([{ ref, bytes: own }])
  return ref
}
