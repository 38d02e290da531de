/** Imports an export: its blobs and nodes are stored as they come, then one commit makes its tree
 *  the root directory of a namespace. See rfc/15, rules 7 to 10.
 *  Invariant: nothing is committed before the last byte of the stream was verified, and everything
 *  that the tree reaches was seen in the store. A refused stream leaves only blobs that nothing
 *  names; a collection frees them. Memory: one batch, and that of the walk. */

import { primary } from '../api/namespace.js'
import type { Committed } from '../api/transaction.js'
import type { Imported, ImportOptions } from '../api/upkeep.js'
import { abortable } from '../base/abort.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { Content, NodeSource } from '../content/content.js'
import type { Engine } from '../engine/engine.js'
import { isCode, TailraceError } from '../error.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import type { Upload } from '../kvs/uploads.js'
import type { LiveNamespace } from '../past/namespace.js'
import { type Adopt, notEmpty, otherTree } from '../transaction/adopt.js'
import { ownTransaction } from '../transaction/transaction.js'
import { Nodes } from '../tree/nodes.js'
import { parseNamespaceName, rootKey, shownKey } from '../treeobj/key.js'
import { emptyDir } from '../treeobj/treeobj.js'
import { audit, Damaged } from '../walk/audit.js'
import { Clean } from '../walk/inspect.js'
import type { Header } from './format.js'
import { checkRecords } from './import-check.js'
import { ExportParser } from './parse.js'

/** The size of a batch, in bytes, from which it is stored. */
const importBatchSize = 4 * 1024 * 1024
/** The number of records in a batch from which it is stored. */
const importBatchCount = 4_096
/** The size of the cache of decoded nodes, in encoded bytes. Each node is asked for once. */
const importNodesSize = 1024 * 1024
/** The number of tries of the commit. A try fails if the namespace was made or removed
 *  meanwhile. */
const commitTriesMax = 4

type ImportPorts = {
  readonly engine: Engine
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
}

/** Imports a stream; see `Upkeep.import`. Throws EINVAL (the stream is no export, damaged, cut, or
 *  of a newer format), ENOTEMPTY, ECONFLICT, EPERM, ENOSPC, EIO, EBUSY (import again), ECANCELED,
 *  ECORRUPT (of the store itself), and what the source throws. */
export async function importStream(
  ports: ImportPorts,
  chunks: AsyncIterable<Uint8Array>,
  options: ImportOptions = {},
): Promise<Imported> {
  const name = parseNamespaceName(options.namespace ?? primary)
  using upload = ports.spaces.uploads.begin() // until a root names it
  const store = new ImportStore(ports, upload)
  await using parser = new ExportParser(abortable(chunks, options.signal))
  const header = await parser.header()
  const replace = options.replace === true
  await checkTarget(ports.spaces, name, header, replace)
  await checkRecords(parser, header, store, (blob) => store.add(blob))
  await store.flush()
  await store.checkReached(header)
  const { seq, ref } = await commit(ports.spaces, name, header, replace)
  const { keys, size } = header.data
  const { totals: read, skipped } = parser
  const told = skipped.length > 0 ? { skipped } : {}
  return { namespace: name, seq, ref, keys, size, stored: store.stored, read, ...told }
}

/** Checks the target before the records are read, so that an import that the commit would refuse
 *  ends early. */
async function checkTarget(
  spaces: OpenNamespaces,
  name: string,
  header: Header,
  replace: boolean,
): Promise<void> {
  spaces.checkOpen()
  const now = (await spaces.peek(name)?.data()) ?? emptyDir
  const { base } = header
  if (base && base.data.ref !== now.ref) {
    throw otherTree({ namespace: name, base: base.data, now })
  }
  if (!base && !replace && now.ref !== undefined) throw notEmpty(name)
}

async function commit(
  spaces: OpenNamespaces,
  name: string,
  header: Header,
  replace: boolean,
): Promise<Pick<Committed, 'seq' | 'ref'>> {
  const { data, base } = header
  for (let tries = 1; ; tries++) {
    try {
      if (!spaces.peek(name)) return seqAndRef(await make(spaces, name, header))
      const on: Adopt['on'] = base?.data ?? (replace ? 'anything' : 'empty')
      const { committer } = spaces.find(name)
      return await committer.submit(
        ownTransaction({ op: 'adopt', data, on, changed: [rootKey] }, { alone: true }),
      )
    } catch (error) {
      const raced = isCode(error, 'EEXIST') || isCode(error, 'ENONS')
      if (!raced || tries === commitTriesMax) throw error
    }
  }
}

async function make(spaces: OpenNamespaces, name: string, header: Header): Promise<LiveNamespace> {
  const { data, base } = header
  if (base && base.data.ref !== undefined) {
    throw otherTree({ namespace: name, base: base.data, now: emptyDir })
  }
  return spaces.create(name, data)
}

function seqAndRef({ root: { seq, ref } }: LiveNamespace): Pick<Committed, 'seq' | 'ref'> {
  return { seq, ref }
}

/** Stores the blobs and nodes that the store lacks, and gives the walk over the stream its
 *  nodes. */
class ImportStore implements NodeSource {
  readonly nodes: Nodes
  readonly #ports: ImportPorts
  readonly #upload: Upload
  #batch: Blob[] = []
  #batchSize = 0
  #count = 0
  #size = 0
  /** The errors that loads from the store threw. */
  readonly #failed = new WeakSet<Error>()
  /** The last record. If it is a node, the walk asks for it next. */
  #last: Blob | undefined

  constructor(ports: ImportPorts, upload: Upload) {
    this.#ports = ports
    this.#upload = upload
    this.nodes = new Nodes(this, { cacheSize: importNodesSize })
  }

  get stored(): Imported['stored'] {
    return { count: this.#count, size: this.#size }
  }

  async add(blob: Blob): Promise<void> {
    this.#last = blob
    this.#batch.push(blob)
    this.#batchSize += blob.bytes.length
    const full = this.#batch.length >= importBatchCount || this.#batchSize >= importBatchSize
    if (full) await this.flush()
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    this.#batchSize = 0
    if (batch.length === 0) return
    const { engine } = this.#ports
    const refs = batch.map(({ ref }) => ref)
    this.#upload.note(refs)
    const there = await engine.has(refs)
    const missing = batch.filter((_, index) => !there[index])
    if (missing.length === 0) return
    await engine.put(missing)
    this.#count += missing.length
    for (const { bytes } of missing) this.#size += bytes.length
  }

  peekNode(ref: Blobref): Uint8Array | undefined {
    if (this.#last?.ref === ref) return this.#last.bytes
    return this.#ports.content.peekNode(ref)
  }

  async loadNode(ref: Blobref): Promise<Uint8Array> {
    const waiting = this.#batch.find((blob) => blob.ref === ref)
    return waiting?.bytes ?? this.#loadStored(ref)
  }

  /** Returns true for an error of a load from the store. Any other error of the tree is one of the
   *  stream. */
  readonly isOwn = (error: unknown): boolean => error instanceof Error && this.#failed.has(error)

  async #loadStored(ref: Blobref): Promise<Uint8Array> {
    try {
      return await this.#ports.content.loadNode(ref)
    } catch (error) {
      if (error instanceof Error) this.#failed.add(error)
      throw error
    }
  }

  /** Checks that the store has everything that the tree reaches, and keeps it from collection.
   *  Nodes are loaded and checked against their parents; blobs are only looked up. Throws EINVAL,
   *  ECORRUPT (of the store), EBUSY. */
  async checkReached({ data, base }: Header): Promise<void> {
    const { engine } = this.#ports
    const waiting: Blobref[] = []
    const ask = async () => {
      const refs = waiting.splice(0)
      this.#upload.note(refs)
      const there = await engine.has(refs)
      const gone = refs.find((_, index) => !there[index])
      if (gone) throw lost(gone, base !== undefined)
    }
    const checkBlob = async (ref: Blobref) => {
      waiting.push(ref)
      if (waiting.length >= importBatchCount) await ask()
    }
    // Use a cache of our own: a node in the shared one may be gone from the store.
    const source: NodeSource = {
      peekNode: () => undefined,
      loadNode: async (ref) => {
        await checkBlob(ref)
        return this.#loadStored(ref)
      },
    }
    const nodes = new Nodes(source, { cacheSize: importNodesSize })
    const findings = { clean: new Clean(), damages: 0 }
    const walk = { nodes, findings, damaged: new Damaged(), findingsMax: 1, checkBlob }
    const [damage] = await audit(walk, data, rootKey)
    if (damage) {
      const { key, lost: found } = damage
      const where = shownKey(key)
      const message = `the export's tree does not hold together at ${where} (${found.error.message}): nothing was imported`
      const code = this.isOwn(found.error) ? 'ECORRUPT' : 'EINVAL'
      throw new TailraceError(code, message, { cause: found.error })
    }
    await ask()
  }
}

function lost(ref: Blobref, ofBase: boolean): TailraceError {
  return ofBase
    ? new TailraceError(
        'ECORRUPT',
        `${ref}, which the namespace has by itself, is not stored: run "tailrace fsck"`,
      )
    : new TailraceError(
        'EBUSY',
        `the import took so long that ${ref} was collected again: import it again`,
      )
}
