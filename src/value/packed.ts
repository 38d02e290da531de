/** A packed value: where its bytes are, and how it is opened. See rfc/23, rules 5 to 8.
 *  Invariant: a value is fetched and unpacked once for all who open it, and fetched once for all who
 *  ask for its bytes, while it is in use. What opens it has all memory for that, and waits for nobody
 *  meanwhile. */

import { getSizeMax, type Kvs, type Reading, type ReadScope } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type {
  Codec,
  Opened,
  Packed,
  Parts,
  StoreOptions,
  Timings,
  ValueOptions,
} from '../api/value.js'
import { joinAbort } from '../base/abort.js'
import {
  checkOptions,
  count,
  invalid,
  list,
  oneOf,
  type Rule,
  shapeOf,
  signal,
  text,
} from '../base/shape.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import { decodeHead, type PackedHead } from './head.js'
import type { Idle, Sizes } from './ledger.js'
import { type Openable, type OpeningPlace, openAll } from './opening.js'
import { Clock } from './timings.js'

/** The memory of an opened value for each packed byte, if its codec says nothing. An estimate: objects
 *  take more than their msgpack. */
const openedFactor = 4
/** The bytes of a head at most, with what follows up to the alignment. */
const headSizeMax = 64
/** The largest value that the first look keeps until there is memory for it, in bytes: so opening a
 *  small one is one request. */
const smallSize = 64 * 1024

const object: Rule = {
  is: (value) => typeof value === 'object' && value !== null,
  expected: 'an object',
}
/** The options of a use. */
export const uses = shapeOf<ValueOptions>({
  ...{ timings: object, wait: oneOf('wait', 'fail'), signal },
})
const stores = shapeOf<StoreOptions>({
  ...{ timings: object, namespace: text, guards: list, ttl: count, signal },
})

/** The parts of a process that its values share. */
export type Shared = OpeningPlace & {
  readonly codecs: ReadonlyMap<string, Codec>
  /** Stores packed bytes that no store has; undefined if they stay in memory. */
  readonly spill: ((parts: Parts) => Promise<ValuePlace>) | undefined
}

/** The place of a stored value. */
export type ValuePlace = {
  readonly kvs: Kvs
  readonly key: string
  readonly scope: Pick<ReadScope, 'namespace' | 'at'>
  /** The value that was seen there, and the seq of that root; undefined before the first look. */
  readonly seen?: { readonly ref: string; readonly seq: number }
}

/** Facts of a value that is not fetched whole. `small`: its bytes, if they are few. */
type Look = { readonly head: PackedHead; readonly size: number; readonly small?: Uint8Array }

/** The answer to a write of the value. */
type Stored = { readonly seq: number; readonly ref: string | undefined }

type Memory<T> = { readonly value: T; readonly idle: Idle }

/** A packed value. Mutable: what is in memory changes, the value does not. */
export class PackedValue<T> implements Packed<T>, Openable {
  readonly #shared: Shared
  #source: ValuePlace | undefined
  /** The packed bytes, if they are in memory. */
  #parts: Memory<Parts> | undefined
  #opened: Memory<T> | undefined
  /** The opening that is on its way. */
  #opening: Promise<void> | undefined
  /** Callbacks of those who wait for memory to open it. */
  readonly #openings = new Set<() => void>()
  /** The fetch of the packed bytes that is on its way. */
  #gathering: Promise<Uint8Array> | undefined
  #looking: Promise<Look> | undefined
  #look: Look | undefined
  /** True while the packed bytes are written elsewhere, to be forgotten then. */
  #isSpilling = false
  /** The number of uses of the opened value, and of the packed bytes. */
  readonly #uses = { opened: 0, packed: 0 }

  private constructor(shared: Shared, source: ValuePlace | undefined) {
    this.#shared = shared
    this.#source = source
  }

  /** Returns the value of a key, of which nothing is read yet. */
  static stored<T>(shared: Shared, source: ValuePlace): PackedValue<T> {
    return new PackedValue<T>(shared, source)
  }

  /** Returns a value whose packed bytes are in memory. `view`: the opened value, if it is the same
   *  memory. REQUIRES: the ledger has given the size. */
  static inMemory<T>(
    shared: Shared,
    {
      parts,
      size,
      view,
    }: { readonly parts: Parts; readonly size: number; readonly view?: { readonly value: T } },
  ): PackedValue<T> {
    const made = new PackedValue<T>(shared, undefined)
    made.#wake('packed')
    made.#keep(parts, size)
    if (view) {
      const idle: Idle = { kind: 'opened', size: 0, forget: () => made.#close() }
      made.#opened = { value: view.value, idle }
    }
    made.#rest('packed')
    return made
  }

  get source(): Packed<T>['source'] {
    if (!this.#source) return undefined
    const { key, scope } = this.#source
    return scope.namespace === undefined ? { key } : { key, namespace: scope.namespace }
  }

  get size(): number | undefined {
    return this.#look?.size ?? this.#parts?.idle.size
  }

  async open(options: ValueOptions = {}): Promise<Opened<T>> {
    checkOptions(options, uses)
    const [opened] = await openAll(this.#shared, [this], options)
    return opened as Opened<T>
  }

  async use<R>(fn: (value: T) => R | Promise<R>, options: ValueOptions = {}): Promise<R> {
    using opened = await this.open(options)
    return await this.#clock(options.timings).wait('run', () => fn(opened.value))
  }

  async bytes(options: ValueOptions = {}): Promise<Uint8Array> {
    checkOptions(options, uses)
    this.#wake('packed')
    try {
      if (this.#parts) return this.#joined(this.#parts.value)
      this.#gathering ??= this.#gather(options).finally(() => {
        this.#gathering = undefined
      })
      return await joinAbort(this.#gathering, options.signal)
    } finally {
      this.#rest('packed')
    }
  }

  async *stream(options: ValueOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    checkOptions(options, uses)
    this.#wake('packed')
    try {
      if (this.#parts) {
        yield* this.#parts.value
        return
      }
      const clock = this.#clock(options.timings)
      const { chunks } = await clock.wait('fetch', () => this.#read())
      yield* chunks
    } finally {
      this.#rest('packed')
    }
  }

  async store(kvs: Kvs, key: string, options: StoreOptions = {}): Promise<Packed<T>> {
    checkOptions(options, stores)
    const { timings, ...putting } = options
    const { ledger } = this.#shared
    ledger.count('stores')
    const clock = this.#clock(timings)
    const { seq, ref } = await clock.wait('store', async () => {
      const copied = await this.#copy(kvs, key, putting)
      return copied ?? (await this.#put(kvs, key, putting))
    })
    const { namespace } = putting
    const seen = ref === undefined ? {} : { seen: { ref, seq } }
    const scope = namespace === undefined ? {} : { namespace }
    const stored: ValuePlace = { kvs, key, scope, ...seen }
    if (this.#source) return PackedValue.stored<T>(this.#shared, stored)
    // The packed bytes may be forgotten now, since the store has them.
    this.#wake('packed')
    this.#source = stored
    this.#rest('packed')
    return this
  }

  [Symbol.dispose](): void {
    const { ledger } = this.#shared
    const { opened, packed } = this.#uses
    if (this.#opened && opened === 0) {
      ledger.wake(this.#opened.idle)
      ledger.give({ opened: this.#opened.idle.size })
      this.#close()
    }
    if (this.#parts && packed === 0 && !this.#isSpilling) {
      ledger.wake(this.#parts.idle)
      ledger.give({ packed: this.#parts.idle.size })
      this.#parts = undefined
    }
  }

  /** Begins a use of the opened value. */
  begin(): void {
    this.#wake('opened')
  }

  /** Ends what `begin` began. */
  end(): void {
    this.#rest('opened')
    // Nobody needs the bytes any more that the first look kept.
    if (this.#uses.opened === 0) this.#look = this.#look && withoutBytes(this.#look)
  }

  /** True if it is opened, or about to be with memory of its own. */
  get isOpening(): boolean {
    return this.#opened !== undefined || this.#opening !== undefined
  }

  /** Calls `run` when somebody begins to open the value, until the returned function is called. */
  onOpening(run: () => void): () => void {
    this.#openings.add(run)
    return () => this.#openings.delete(run)
  }

  /** Settles as the opening does that is on its way, if there is one. */
  get opening(): Promise<void> | undefined {
    return this.#opening
  }

  /** The memory that its opening takes. */
  async need(clock: Clock): Promise<Sizes> {
    const { head, size } = await this.#seen(clock)
    const codec = this.#codecOf(head)
    const openedSize = codec.openedSize ?? ((packedSize: number) => openedFactor * packedSize)
    return { packed: this.#parts ? 0 : size, opened: openedSize(size - head.size) }
  }

  /** Begins to open the value with memory that it was given, which it gives back if somebody else has
   *  begun by now. REQUIRES: `begin` was called. */
  openWith(memory: Sizes, clock: Clock): void {
    if (this.isOpening) {
      this.#shared.ledger.give(memory)
      return
    }
    for (const run of this.#openings) run()
    this.#opening = this.#openWith(memory, clock).finally(() => {
      this.#opening = undefined
    })
    this.#opening.catch(() => {}) // whoever waits for it hears of it
  }

  /** The opened value. REQUIRES: `begin` was called, and `opening` has resolved. */
  get value(): T {
    if (!this.#opened) throw new Error('a value is opened before it is used')
    return this.#opened.value
  }

  async #openWith(memory: Sizes, clock: Clock): Promise<void> {
    const { ledger } = this.#shared
    this.#wake('packed')
    try {
      const packed = await this.#load(clock)
      const head = this.#headOf(packed)
      const codec = this.#codecOf(head)
      ledger.count('opens')
      const value = clock.run('unpack', () => {
        try {
          return codec.unpack(packed.subarray(head.size), head.version) as T
        } catch (error) {
          throw this.#unreadable(
            `by the codec ${codec.name}@${head.version}: ${reasonOf(error)}`,
            error,
          )
        }
      })
      const idle: Idle = { kind: 'opened', size: memory.opened, forget: () => this.#close() }
      this.#opened = { value, idle }
    } catch (error) {
      ledger.give({ opened: memory.opened })
      throw error
    } finally {
      ledger.give({ packed: memory.packed })
      this.#rest('packed')
    }
  }

  /** Fetches all packed bytes, and remembers them. */
  async #gather({ timings, wait = this.#shared.wait, signal }: ValueOptions): Promise<Uint8Array> {
    const clock = this.#clock(timings)
    const { size } = await this.#seen(clock)
    const claim = () => this.#shared.ledger.claim({ packed: size, opened: 0 }, { wait, signal })
    await clock.wait('wait', claim)
    try {
      const bytes = await this.#load(clock)
      if (this.#parts) this.#shared.ledger.give({ packed: size })
      else this.#keep([bytes], size)
      return bytes
    } catch (error) {
      this.#shared.ledger.give({ packed: size })
      throw error
    }
  }

  /** Returns all packed bytes. REQUIRES: there is memory for them. */
  async #load(clock: Clock): Promise<Uint8Array> {
    if (this.#parts) return this.#joined(this.#parts.value)
    const small = this.#look?.small
    if (small) {
      this.#look = this.#look && withoutBytes(this.#look)
      return small
    }
    return clock.wait('fetch', async () => {
      const { stat, chunks } = await this.#read()
      if (stat.size > getSizeMax) {
        throw new TailraceError('E2BIG', `${this.#shown} has ${stat.size} bytes: stream it`)
      }
      const bytes = new Uint8Array(stat.size)
      let at = 0
      for await (const chunk of chunks) {
        bytes.set(chunk, at)
        at += chunk.length
      }
      return bytes
    })
  }

  /** Reads the value that was seen first, wherever the key leads now. Throws ECOMPACTED. */
  async #read(): Promise<Reading> {
    const source = this.#stored()
    const { kvs, key, scope, seen } = source
    this.#shared.ledger.count('fetches')
    const reading = await kvs.read(key, scope)
    const { ref, seq } = reading?.stat ?? {}
    if (!seen && reading && ref !== undefined && seq !== undefined) {
      this.#source = { ...source, seen: { ref, seq } }
      return reading
    }
    if (reading && ref === seen?.ref) return reading
    if (!seen) throw missing(key)
    // Something else stands there now: ends its stream.
    for await (const _ of reading?.chunks ?? []) break
    const then = await kvs.read(key, { ...scope, at: seen.seq })
    if (then?.stat.ref === seen.ref) return then
    throw missing(key)
  }

  /** Copies the value by reference, if it stands in that store. Returns undefined if it cannot. */
  async #copy(
    kvs: Kvs,
    key: string,
    { namespace, guards = [], ttl, signal }: Omit<StoreOptions, 'timings'>,
  ): Promise<Stored | undefined> {
    if (this.#source?.kvs !== kvs || ttl !== undefined) return undefined
    const source = this.#source
    const { key: from, scope, seen } = source
    const at = scope.at ?? seen?.seq
    const op = {
      ...({ op: 'copy', key, from, replace: true } as const),
      ...{ namespace: scope.namespace ?? primary, ...(at !== undefined && { at }) },
    }
    const into = { ...(namespace !== undefined && { namespace }), ...(signal && { signal }) }
    try {
      const { seq, results } = await kvs.commit({ guards, ops: [op] }, into)
      const ref = results[0]?.ref
      // Later reads see the value that was copied.
      if (!seen && ref !== undefined) this.#source = { ...source, seen: { ref, seq } }
      return { seq, ref }
    } catch (error) {
      // The root is no longer retained. The value may be there all the same.
      if (isCode(error, 'ECOMPACTED')) return undefined
      throw error
    }
  }

  async #put(kvs: Kvs, key: string, putting: Omit<StoreOptions, 'timings'>): Promise<Stored> {
    const { seq, result } = await kvs.put(key, this.stream(), putting)
    return { seq, ref: result.ref }
  }

  #joined(parts: Parts): Uint8Array {
    const [first, ...others] = parts
    if (first && others.length === 0) return first
    this.#shared.ledger.count('copies')
    return Buffer.concat(parts)
  }

  /** Returns the head and the size. The first look chooses the value that all later reads see. */
  async #seen(clock: Clock): Promise<Look> {
    if (this.#look) return this.#look
    if (this.#parts) {
      const [first] = this.#parts.value
      this.#look = { head: this.#headOf(first ?? new Uint8Array()), size: this.#parts.idle.size }
      return this.#look
    }
    this.#looking ??= clock.wait('fetch', () => this.#lookUp())
    try {
      this.#look = await this.#looking
      return this.#look
    } finally {
      this.#looking = undefined
    }
  }

  async #lookUp(): Promise<Look> {
    const { stat, chunks } = await this.#read()
    const { size } = stat
    const wanted = size <= smallSize ? size : Math.min(size, headSizeMax)
    const got: Uint8Array[] = []
    let length = 0
    for await (const chunk of chunks) {
      got.push(chunk)
      length += chunk.length
      if (length >= wanted) break
    }
    const bytes = Buffer.concat(got)
    const head = this.#headOf(bytes)
    return size <= smallSize ? { head, size, small: bytes } : { head, size }
  }

  #headOf(bytes: Uint8Array): PackedHead {
    const head = decodeHead(bytes)
    if (head) return head
    throw this.#unreadable('as a packed value: it has no head')
  }

  #codecOf({ name, version }: PackedHead): Codec {
    const codec = this.#shared.codecs.get(name)
    if (!codec) throw invalid(`${this.#shown} needs the codec ${name}: give it to openValues()`)
    if (version <= codec.version) return codec
    throw invalid(
      `${this.#shown} needs version ${version} of the codec ${name}, which has ${codec.version} here`,
    )
  }

  #unreadable(how: string, cause?: unknown): TailraceError {
    return new TailraceError('ECORRUPT', `${this.#shown} cannot be read ${how}`, { cause })
  }

  get #shown(): string {
    if (!this.#source) return 'a packed value in memory'
    const { key, scope } = this.#source
    return `the value of ${key}${scope.namespace === undefined ? '' : ` in ${scope.namespace}`}`
  }

  #stored(): ValuePlace {
    if (this.#source) return this.#source
    throw new TailraceError('ECLOSED', 'the value was disposed of, and no store has it')
  }

  #clock(timings: Timings | undefined): Clock {
    return new Clock(this.#shared.total, timings)
  }

  #keep(parts: Parts, size: number): void {
    this.#parts = { value: parts, idle: { kind: 'packed', size, forget: () => this.#drop() } }
  }

  #close(): void {
    this.#opened = undefined
  }

  /** Forgets the packed bytes, which it writes before that if no store has them. */
  #drop(): Promise<void> | void {
    if (this.#source) {
      this.#parts = undefined
      return
    }
    return this.#spill()
  }

  async #spill(): Promise<void> {
    const { spill, ledger } = this.#shared
    if (!spill || !this.#parts) throw new Error('only what can be spilled rests')
    ledger.count('spills')
    this.#isSpilling = true
    try {
      const place = await spill(this.#parts.value)
      this.#source ??= place
      this.#parts = undefined
    } finally {
      this.#isSpilling = false
    }
  }

  #wake(kind: 'packed' | 'opened'): void {
    this.#uses[kind]++
    const memory = kind === 'packed' ? this.#parts : this.#opened
    if (memory) this.#shared.ledger.wake(memory.idle)
  }

  #rest(kind: 'packed' | 'opened'): void {
    this.#uses[kind]--
    const memory = kind === 'packed' ? this.#parts : this.#opened
    if (!memory || this.#uses[kind] > 0) return
    // The ledger takes the bytes back itself once they are written.
    if (kind === 'packed' && this.#isSpilling) return
    // Packed bytes that no store has, and that cannot be spilled, cannot be forgotten.
    if (kind === 'packed' && !this.#source && !this.#shared.spill) return
    this.#shared.ledger.rest(memory.idle)
  }
}

function withoutBytes({ head, size }: Look): Look {
  return { head, size }
}

function missing(key: string): TailraceError {
  return new TailraceError('ENOENT', `there is no ${key}`)
}
