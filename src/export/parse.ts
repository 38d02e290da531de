/** Reads the stream of an export. Each record is named by its hash, and the digest at the end
 *  proves that all records are there, unchanged and in order. See rfc/15, rules 3 and 7.
 *  Invariant: when `next` returns undefined, the reader got exactly what was exported. Memory: one
 *  record and one chunk of the source. */

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

/** A record of an export. */
export type ExportRecord = {
  readonly kind: 'blob' | 'node'
  readonly ref: Blobref
  /** The bytes, in a buffer that nothing else uses. */
  readonly bytes: Buffer
}

/** The parser of one stream. Call `header`, then `next` until it returns undefined. Dispose it,
 *  whatever happened. */
export class ExportParser implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #hash = new StreamHash()
  #chunk: Uint8Array = new Uint8Array()
  /** The number of bytes that were taken. */
  #offset = 0
  readonly #skipped: Skipped[] = []
  #version = 0
  #count = 0
  #size = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#source = chunks[Symbol.asyncIterator]()
  }

  /** The number and size of the records so far. */
  get totals(): Totals {
    return { count: this.#count, size: this.#size }
  }

  /** Reads the header. Throws EINVAL (damaged, cut, of a newer format, no export at all), and what
   *  the source throws. */
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

  /** The entries that the export left out. The list is complete after the first `next`. */
  get skipped(): readonly Skipped[] {
    return this.#skipped
  }

  /** Reads the next record. Returns undefined after the last one, once the end was verified. Throws
   *  what `header` throws. */
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

  /** Makes the EINVAL of a wrong stream, with the byte and the record where it is wrong. */
  refused(what: string, cause?: unknown): TailraceError {
    const message = `the export is damaged at byte ${this.#offset} (record ${this.#count}): ${what}; nothing was imported, export it again`
    return new TailraceError('EINVAL', message, { cause })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hash[Symbol.dispose]()
    await this.#source.return?.()
  }

  /** Reads the kind of the next record, after the entries left out. */
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

  /** Takes the next bytes, and adds them to the digest. */
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

  /** Pulls the next chunk of the source. Returns false at its end. */
  async #pull(): Promise<boolean> {
    const next = await this.#source.next()
    if (next.done) return false
    this.#chunk = next.value
    return true
  }
}
