/** The bytes of an export, read: each record is named by its hash, and the end proves that all of them
 *  are there as they were written. See rfc/15.
 *  Invariant: whoever gets `end` has had exactly what was exported, in its order; memory is one record and
 *  one chunk of the source. */

import type { Skipped } from '../api/upkeep.js'
import { blobSizeMax } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode, StreamHash } from '../blob/hash.js'
import { isCode, TailraceError } from '../error.js'
import { nodeSizeMax } from '../tree/node.js'
import { failureKind, failureTextMax, parseFailure } from './failure.js'
import {
  blobKind,
  decodeHeader,
  decodeSkipped,
  digestBytes,
  endKind,
  formatVersion,
  type Header,
  headerSizeMax,
  magic,
  nodeKind,
  skippedKind,
  skippedMax,
  skippedSizeMax,
  type Totals,
} from './format.js'

export type ExportRecord = {
  readonly kind: 'blob' | 'node'
  readonly ref: Blobref
  /** A buffer of its own. */
  readonly bytes: Buffer
}

/** Of one stream, in order: `header`, then `next` until it gives undefined. Dispose of it, whatever
 *  happened. */
export class ExportParser implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #hash = new StreamHash()
  #chunk: Uint8Array = new Uint8Array()
  /** Bytes that were taken. */
  #offset = 0
  readonly #skipped: Skipped[] = []
  #version = 0
  #count = 0
  #size = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#source = chunks[Symbol.asyncIterator]()
  }

  /** The records so far. */
  get totals(): Totals {
    return { count: this.#count, size: this.#size }
  }

  /** Throws EINVAL (damaged, cut, of a newer format, no export at all), and what the source throws. */
  async header(): Promise<Header> {
    const first = await this.#take(magic.length, 'its first bytes')
    if (!first.equals(magic)) throw this.refused('it does not begin as an export')
    const [version = 0] = await this.#take(1, 'its version')
    if (version > formatVersion) {
      const message = `the export has format ${version}, this version reads up to ${formatVersion}: use a newer version`
      throw new TailraceError('EINVAL', message)
    }
    if (version === 0) throw this.refused('there is no such format')
    this.#version = version
    const length = (await this.#take(4, 'its header')).readUInt32BE(0)
    if (length > headerSizeMax)
      throw this.refused(`its header has more than ${headerSizeMax} bytes`)
    const bytes = await this.#take(length, 'its header')
    return this.#decoded(() => decodeHeader(bytes))
  }

  #decoded<T>(decode: () => T): T {
    try {
      return decode()
    } catch (error) {
      if (!isCode(error, 'ECORRUPT')) throw error
      throw this.refused(error.message, error)
    }
  }

  /** Entries that the export left out: complete once the first record, or the end, is there. */
  get skipped(): readonly Skipped[] {
    return this.#skipped
  }

  /** The next record; undefined after the last, once the end is proved. Throws as `header`. */
  async next(): Promise<ExportRecord | undefined> {
    const kind = await this.#kind()
    if (kind === endKind) {
      await this.#end()
      return undefined
    }
    if (kind === failureKind) throw await this.#failure()
    if (kind !== blobKind && kind !== nodeKind)
      throw this.refused(`there is no record kind ${kind}`)
    const length = (await this.#take(4, this.#named())).readUInt32BE(0)
    const max = kind === blobKind ? blobSizeMax : nodeSizeMax
    if (length > max) throw this.refused(`${this.#named()} has more than ${max} bytes`)
    const bytes = await this.#take(length, this.#named())
    this.#count++
    this.#size += length
    return kind === blobKind
      ? { kind: 'blob', ref: hashBlob(bytes), bytes }
      : { kind: 'node', ref: hashNode(bytes), bytes }
  }

  /** The stream is not what an importer needs, whoever sent it: says where it stands. */
  refused(what: string, cause?: unknown): TailraceError {
    const message = `the export is damaged at byte ${this.#offset} (record ${this.#count}): ${what}; nothing was imported, export it again`
    return new TailraceError('EINVAL', message, { cause })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hash[Symbol.dispose]()
    await this.#source.return?.()
  }

  /** Kind of the next record. Reads the list of entries left out first. */
  async #kind(): Promise<number> {
    for (;;) {
      const [kind = 0] = await this.#take(1, this.#named())
      if (kind !== skippedKind || this.#version < 2 || this.#count > 0) return kind
      const length = (await this.#take(4, 'what was left out')).readUInt32BE(0)
      const tooMany = length > skippedSizeMax || this.#skipped.length >= skippedMax
      if (tooMany) throw this.refused('it lists too much that was left out')
      const bytes = await this.#take(length, 'what was left out')
      this.#skipped.push(this.#decoded(() => decodeSkipped(bytes)))
    }
  }

  async #failure(): Promise<TailraceError> {
    const length = (await this.#take(4, 'its failure')).readUInt32BE(0)
    const text = await this.#take(Math.min(length, failureTextMax), 'its failure')
    const failure = parseFailure(text)
    const why = failure ? `${failure.code}: ${failure.message}` : 'nothing that can be read'
    return this.refused(`the export ended here with ${why}`, failure)
  }

  async #end(): Promise<void> {
    const totals = await this.#take(16, 'its end')
    const [count, size] = [totals.readBigUInt64BE(0), totals.readBigUInt64BE(8)]
    if (count !== BigInt(this.#count) || size !== BigInt(this.#size)) {
      throw this.refused(`its end tells of ${count} records of ${size} bytes`)
    }
    const digest = this.#hash.digest()
    const told = await this.#fill(digestBytes, 'its end')
    if (!told.equals(digest)) throw this.refused('its bytes do not match the digest at its end')
    while (this.#chunk.length === 0) if (!(await this.#pull())) return
    throw this.refused('there are bytes behind its end')
  }

  #named(): string {
    return `record ${this.#count}`
  }

  /** The next bytes, which the digest covers. */
  async #take(length: number, what: string): Promise<Buffer> {
    const bytes = await this.#fill(length, what)
    this.#hash.update(bytes)
    return bytes
  }

  async #fill(length: number, what: string): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length)
    for (let filled = 0; filled < length; ) {
      if (this.#chunk.length === 0 && !(await this.#pull())) {
        throw this.refused(`it was cut in the middle of ${what}`)
      }
      const step = Math.min(this.#chunk.length, length - filled)
      bytes.set(this.#chunk.subarray(0, step), filled)
      this.#chunk = this.#chunk.subarray(step)
      this.#offset += step
      filled += step
    }
    return bytes
  }

  /** False at the end of the source. */
  async #pull(): Promise<boolean> {
    const next = await this.#source.next()
    if (next.done) return false
    this.#chunk = next.value
    return true
  }
}
