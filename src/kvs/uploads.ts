/** Blobs that are stored before anything names them: by puts that stream, imports, and owners who put blobs
 *  alone. See rfc/18, rule 11, and rfc/14.
 *  Invariant: what an upload has noted is spared by every collection that began before its commit was
 *  answered; an upload keeps nothing but its own blobs, however long it lasts. */

import type { Environment } from '../base/environment.js'
import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
import { RefSet } from '../blob/ref-set.js'
import type { Content } from '../content/content.js'
import { canceled, TailraceError } from '../error.js'
import { type AppendArray, closeArray, emptyArray, pushBlob } from '../tree/array.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'

/** A blob that was put alone is kept this long, and this many of them (the oldest go first). */
export const lentMs = 3_600_000
export const lentMax = 131_072
/** Refs that an upload notes (30 bytes each): of a value, 256 GiB. A larger upload keeps all that was put since
 *  it began. */
export const uploadRefsMax = 1_048_576

/** Begun before its first put; disposed of when its commit is answered, not earlier. */
export class Upload implements Disposable {
  readonly #since: number
  readonly #end: (upload: Upload) => void
  readonly #refs = new RefSet()

  constructor(since: number, end: (upload: Upload) => void) {
    this.#since = since
    this.#end = end
  }

  /** Since when all puts are kept (monotonic clock): Infinity while its own refs are known. */
  get since(): number {
    return this.#refs.size < uploadRefsMax ? Number.POSITIVE_INFINITY : this.#since
  }

  /** Blobs that it puts, or relies on: before they are put, and before it is asked whether they are there. */
  note(refs: Iterable<Blobref>): void {
    for (const ref of refs) {
      if (this.#refs.size === uploadRefsMax) return
      this.#refs.add(ref)
    }
  }

  has(ref: Blobref): boolean {
    return this.#refs.has(ref)
  }

  [Symbol.dispose](): void {
    this.#end(this)
  }
}

/** The uploads that were under way when a collection began. */
export type OpenUploads = {
  /** Puts since then are kept (monotonic clock); Infinity: only what `has` says. */
  readonly since: number
  readonly has: (ref: Blobref) => boolean
}

export class Uploads {
  readonly #environment: Pick<Environment, 'monotonic'>
  readonly #open = new Set<Upload>()
  /** Until when, each blob that was put alone; in the order of that. */
  readonly #lent = new Map<Blobref, number>()

  constructor(environment: Pick<Environment, 'monotonic'>) {
    this.#environment = environment
  }

  begin(): Upload {
    const upload = new Upload(this.#environment.monotonic(), (ended) => this.#open.delete(ended))
    this.#open.add(upload)
    return upload
  }

  /** For a collection that begins in this turn of the event loop: what they note from now on it sees put. */
  underWay(): OpenUploads {
    const open = [...this.#open]
    return {
      since: Math.min(...open.map(({ since }) => since)),
      has: (ref) => open.some((upload) => upload.has(ref)),
    }
  }

  /** A blob that its owner will name soon. Before it is put. */
  lend(ref: Blobref): void {
    const now = this.#environment.monotonic()
    this.#lent.delete(ref) // to the end of the order
    this.#lent.set(ref, now + lentMs)
    for (const [oldest, until] of this.#lent) {
      if (this.#lent.size <= lentMax && until > now) break
      this.#lent.delete(oldest)
    }
  }

  isLent(ref: Blobref): boolean {
    return (this.#lent.get(ref) ?? 0) > this.#environment.monotonic()
  }
}

/** A streamed put up to this size (bytes) is one transaction, as if it had come whole. */
export const putHeldMax = 1024 * 1024

/** The whole of a stream if it is at most `putHeldMax` bytes, else a stream that gives the same bytes. */
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

/** Stores the blobs and the pages of a value as those of an upload; durable when it resolves. Throws what the stream throws,
 *  ECANCELED, ENOSPC, EIO. */
export async function storeArray(
  content: Content,
  nodes: Nodes,
  chunks: AsyncIterable<Uint8Array>,
  { upload, signal }: { readonly upload: Upload; readonly signal: AbortSignal | undefined },
): Promise<AppendArray> {
  using writer = new NodeWriter(nodes)
  let array = emptyArray
  const note = (refs: readonly Blobref[]) => upload.note(refs)
  for await (const blob of content.upload(chunks, signal, note)) {
    array = pushBlob(writer, array, blob)
  }
  closeArray(writer, array)
  note(writer.blobs.map(({ ref }) => ref))
  await content.put(writer.blobs)
  return array
}

type Signal = { readonly signal?: AbortSignal }

/** A copy. Throws EINVAL, ECORRUPT, EIO. */
export async function loadBlob(
  content: Content,
  ref: string,
  { signal }: Signal = {},
): Promise<Uint8Array | undefined> {
  if (signal?.aborted) throw canceled(signal)
  const bytes = await content.find(parseBlobref(ref))
  return bytes && Buffer.from(bytes)
}

/** Durable when it resolves, and kept for a while without a name (`lentMs`). Throws E2BIG, ENOSPC, EIO. */
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
  uploads.lend(ref) // before it is there, or a collection between takes it
  await content.put([{ ref, bytes: own }])
  return ref
}
