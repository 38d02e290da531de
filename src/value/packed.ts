/** A packed value: where its bytes are, and how it is opened. See rfc/23, rules 5 to 8.
 *  Invariant: it is fetched and unpacked once for all who open it, and fetched once for all who ask
 *  for its bytes, while it is in use. What fetches or opens it has all memory for that, and waits for
 *  nobody meanwhile. */

import { getSizeMax, type Kvs } from '../api/kvs.js'
import type { Codec, Opened, Packed, Parts, StoreOptions, ValueOptions } from '../api/value.js'
import { joinAbort } from '../base/abort.js'
import {
  checkOptions,
  count,
  invalid,
  list,
  object,
  oneOf,
  shapeOf,
  signal,
  text,
} from '../base/shape.js'
import { reasonOf, TailraceError } from '../error.js'
import { gather, joined, piecesOf } from './bytes.js'
import { openedSizeOf } from './codecs.js'
import { Form, type Loaded } from './form.js'
import { decodeHead, headSizeMax, type PackedHead } from './head.js'
import type { Sizes } from './ledger.js'
import type { Looks } from './looks.js'
import { type Memory, type Openable, openAll, useAll, type Wanted } from './opening.js'
import { ValuePlace } from './place.js'
import { Clock, newTimings } from './timings.js'

/** The bytes that the first look asks for while others wait for memory. A value that is not larger is
 *  stored as one piece. */
const lookSize = 64 * 1024

/** The options of a use. */
export const uses = shapeOf<ValueOptions>({
  ...{ timings: object, wait: oneOf('wait', 'fail'), signal },
})
const stores = shapeOf<StoreOptions>({
  ...{ timings: object, namespace: text, guards: list, ttl: count, signal },
})

/** The parts of a process that its values share. */
export type Shared = Memory & {
  readonly codecs: ReadonlyMap<string, Codec>
  readonly looks: Looks
  /** Stores packed bytes that no store has; undefined if they stay in memory. */
  readonly spill: ((parts: Parts) => Promise<ValuePlace>) | undefined
}

/** Facts of a value that are known without all of its bytes. */
type Look = { readonly head: PackedHead; readonly size: number }

/** A packed value. Mutable: what is in memory changes, the value does not. */
export class PackedValue<T> implements Packed<T>, Openable {
  readonly #shared: Shared
  #place: ValuePlace | undefined
  /** True if it was spilled to its place, which expires. */
  #isSpilled = false
  readonly #packed: Form<Parts>
  readonly #opened: Form<T>
  /** The bytes that the first look brought, until somebody takes them. */
  readonly #first: Form<Uint8Array>
  /** The value that was packed, while its packed bytes are in memory and the same memory. */
  #view: { readonly value: T } | undefined
  #look: Look | undefined
  #looking: Promise<Look> | undefined

  private constructor(shared: Shared, place: ValuePlace | undefined, look: Look | undefined) {
    const { ledger, spill } = shared
    this.#shared = shared
    this.#place = place
    this.#look = look
    this.#packed = new Form<Parts>(ledger, 'packed', {
      may: () => this.#place !== undefined || spill !== undefined,
      isWritten: () => this.#place === undefined,
      write: () => (this.#place || !spill ? undefined : this.#spill(spill)),
    })
    this.#opened = new Form<T>(ledger, 'opened')
    this.#first = new Form<Uint8Array>(ledger, 'packed')
  }

  /** Returns the value of a place, of which nothing is read yet. */
  static stored<T>(shared: Shared, place: ValuePlace, look?: Look): PackedValue<T> {
    return new PackedValue<T>(shared, place, look)
  }

  /** Returns a value whose packed bytes are in memory. `view`: the opened value, if it is the same
   *  memory. REQUIRES: the ledger has given the size. */
  static inMemory<T>(
    shared: Shared,
    parts: Parts,
    { head, size, view }: Look & { readonly view?: { readonly value: T } },
  ): PackedValue<T> {
    const made = new PackedValue<T>(shared, undefined, { head, size })
    made.#view = view
    const gone = () => {
      made.#view = undefined
    }
    made.#packed.keep({ value: parts, size, gone })
    return made
  }

  /** True if its memory is counted in the ledger of these values. */
  isOf(shared: Shared): boolean {
    return this.#shared === shared
  }

  get source(): Packed<T>['source'] {
    if (!this.#place) return undefined
    const { key, namespace } = this.#place
    return namespace === undefined ? { key } : { key, namespace }
  }

  get size(): number | undefined {
    return this.#look?.size
  }

  async open(options: ValueOptions = {}): Promise<Opened<T>> {
    checkOptions(options, uses)
    const [opened] = await openAll(this.#shared, [this], options)
    return opened as Opened<T>
  }

  async use<R>(fn: (value: T) => R | Promise<R>, options: ValueOptions = {}): Promise<R> {
    using opened = await this.open(options)
    return await this.#clock(options).wait('run', () => fn(opened.value))
  }

  async bytes(options: ValueOptions = {}): Promise<Uint8Array> {
    checkOptions(options, uses)
    const clock = this.#clock(options)
    const { size } = await this.#seen(clock, options.signal)
    const wanted: Wanted<Parts> = {
      form: this.#packed,
      need: () => ({
        sizes: { packed: this.#toFetch(size), opened: 0 },
        keeps: this.#first.memory,
      }),
      load: (memory) => this.#packed.load(() => this.#gather(memory, clock)),
    }
    await useAll(this.#shared, [wanted], clock, options)
    try {
      return this.#joinedParts()
    } finally {
      this.#packed.end()
    }
  }

  async *stream(options: ValueOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    checkOptions(options, uses)
    yield* this.#stream(this.#clock(options), options.signal)
  }

  async store(kvs: Kvs, key: string, options: StoreOptions = {}): Promise<Packed<T>> {
    checkOptions(options, stores)
    const { timings, ...putting } = options
    const { ledger, total } = this.#shared
    ledger.count('stores')
    const fetching = newTimings()
    const clock = new Clock(total, timings, fetching)
    const { seq, ref } = await clock.wait(
      'store',
      async () => {
        const copied = await this.#place?.copyTo(kvs, key, putting)
        return copied ?? (await this.#put(kvs, key, clock, putting))
      },
      () => fetching.times.fetch,
    )
    const { namespace } = putting
    const scope = namespace === undefined ? {} : { namespace }
    const place = new ValuePlace(kvs, key, scope, { seq, ref })
    if (this.#place && !this.#isSpilled) {
      return PackedValue.stored<T>(this.#shared, place, this.#look)
    }
    this.#place = place
    this.#isSpilled = false
    // The packed bytes may be forgotten now, since the store has them.
    this.#packed.settle()
    return this
  }

  [Symbol.dispose](): void {
    this.#opened.drop()
    this.#packed.drop()
    this.#first.drop()
  }

  async opening(clock: Clock, signal: AbortSignal | undefined): Promise<Wanted<T>> {
    const { head, size } = await this.#seen(clock, signal)
    const codec = this.#codecOf(head)
    const opened = openedSizeOf(codec, size - head.size)
    return {
      form: this.#opened,
      need: () => ({
        sizes: {
          packed: this.#toFetch(size),
          opened: this.#view ? 0 : opened,
        },
        keeps: [...this.#packed.memory, ...this.#first.memory],
      }),
      load: (memory) => this.#opened.load(() => this.#open(memory, codec, clock)),
    }
  }

  /** Opens the value with the memory that it was given. What is in memory is used from the start, so
   *  that it is not forgotten meanwhile. */
  async #open(memory: Sizes, codec: Codec, clock: Clock): Promise<Loaded<T>> {
    const { ledger } = this.#shared
    const view = this.#view
    const isPacked = this.#packed.isShared
    if (isPacked) this.#packed.begin()
    // Its memory stays in use for as long as the value is.
    if (view) {
      const gone = () => this.#packed.end()
      return { value: view.value, size: 0, isPassing: true, gone }
    }
    const first = isPacked ? undefined : this.#first.take()
    try {
      await this.#packed.loading
      const bytes = isPacked
        ? this.#bodyOf(this.#packed.value)
        : (first?.value ?? (await this.#fetch(clock))).subarray(this.#headSize)
      return { value: this.#unpack(bytes, codec, clock), size: memory.opened }
    } catch (error) {
      ledger.give({ opened: memory.opened })
      throw error
    } finally {
      ledger.give({ packed: first?.size ?? memory.packed })
      if (isPacked) this.#packed.end()
    }
  }

  #unpack(bytes: Uint8Array, codec: Codec, clock: Clock): T {
    this.#shared.ledger.count('opens')
    const version = this.#look?.head.version ?? codec.version
    return clock.run('unpack', () => {
      try {
        return codec.unpack(bytes, version) as T
      } catch (cause) {
        throw this.#unreadable(`by the codec ${codec.name}@${version}: ${reasonOf(cause)}`, cause)
      }
    })
  }

  /** Fetches all packed bytes with the memory that it was given. */
  async #gather(memory: Sizes, clock: Clock): Promise<Loaded<Parts>> {
    const first = this.#first.take()
    if (first) return { value: [first.value], size: first.size }
    try {
      return { value: [await this.#fetch(clock)], size: memory.packed }
    } catch (error) {
      this.#shared.ledger.give({ packed: memory.packed })
      throw error
    }
  }

  /** Fetches all packed bytes into memory of their own. REQUIRES: there is memory for them. */
  async #fetch(clock: Clock): Promise<Uint8Array> {
    return clock.wait('fetch', async () => {
      const { stat, chunks } = await this.#read({})
      return this.#whole(stat.size, [], chunks[Symbol.asyncIterator]())
    })
  }

  async *#stream(clock: Clock, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    if (this.#packed.isHere) {
      this.#packed.begin()
      try {
        yield* piecesOf(this.#packed.value)
      } finally {
        this.#packed.end()
      }
      return
    }
    const reading = await clock.wait('fetch', () => this.#read({ ...(signal && { signal }) }))
    const chunks = reading.chunks[Symbol.asyncIterator]()
    try {
      for (;;) {
        const chunk = await clock.wait('fetch', () => chunks.next())
        if (chunk.done) return
        yield chunk.value
      }
    } finally {
      await chunks.return?.()
    }
  }

  async #put(kvs: Kvs, key: string, clock: Clock, putting: Omit<StoreOptions, 'timings'>) {
    // In use until it is stored: so it is not spilled at the same time.
    this.#packed.begin()
    try {
      const isSmall = this.#packed.isHere && (this.size ?? 0) <= lookSize
      // A small value is one request, which is sent together with others.
      const bytes = isSmall ? joined(this.#packed.value) : this.#stream(clock, putting.signal)
      const { seq, result } = await kvs.put(key, bytes, putting)
      return { seq, ref: result.ref }
    } finally {
      this.#packed.end()
    }
  }

  /** Returns all packed bytes, joined. REQUIRES: they are in use. */
  #joinedParts(): Uint8Array {
    const [first = new Uint8Array(), ...others] = this.#packed.value
    if (others.length === 0) return first
    const whole = this.#joined(this.#packed.value)
    // The parts are not needed any more. The value that was packed may be their memory.
    this.#packed.replace([whole])
    this.#view = undefined
    return whole
  }

  /** Returns the bytes behind the head. */
  #bodyOf(parts: Parts): Uint8Array {
    const [first = new Uint8Array(), body, ...others] = parts
    if (body && others.length === 0 && first.length === this.#headSize) return body
    return (body ? this.#joined(parts) : first).subarray(this.#headSize)
  }

  get #headSize(): number {
    return this.#look?.head.size ?? 0
  }

  /** Returns a copy of the parts in memory of its own. */
  #joined(parts: Parts): Uint8Array {
    this.#shared.ledger.count('copies')
    return joined(parts)
  }

  /** Returns the head and the size. The first look chooses the value that all later reads see. */
  async #seen(clock: Clock, signal: AbortSignal | undefined): Promise<Look> {
    if (!this.#look) {
      this.#looking ??= this.#shared.looks
        .run(() => this.#lookUp(clock))
        .finally(() => {
          this.#looking = undefined
        })
      await joinAbort(this.#looking, signal)
    }
    if (!this.#look) throw new Error('a look was not kept')
    return this.#look
  }

  /** Returns the packed bytes that are not in memory. Throws ECLOSED, E2BIG. */
  #toFetch(size: number): number {
    if (this.#packed.isShared || this.#first.isHere) return 0
    if (!this.#place) throw this.#closed()
    if (size <= getSizeMax) return size
    throw new TailraceError('E2BIG', `${this.#shown} has ${size} bytes: stream it`)
  }

  #closed(): TailraceError {
    return new TailraceError('ECLOSED', 'the value was disposed of, and no store has it')
  }

  /** Reads the head, and goes on to read the whole value if there is memory for it at once: so an opening
   *  is one request. Without memory no stream stays open, and the value is fetched when there is. */
  async #lookUp(clock: Clock): Promise<Look> {
    const { ledger } = this.#shared
    return clock.wait('fetch', async () => {
      const isPart = ledger.isShort
      const { stat, chunks } = await this.#read(isPart ? { from: 0, to: lookSize } : {})
      const { size } = stat
      // A value above the bound of all memory is not kept: the opening fetches it.
      const sizeMax = Math.min(isPart ? lookSize : getSizeMax, ledger.max.packed)
      const coming = chunks[Symbol.asyncIterator]()
      try {
        const got: Uint8Array[] = []
        for (let length = 0; length < headSizeMax; ) {
          const { value, done } = await coming.next()
          if (done) break
          got.push(value)
          length += value.length
        }
        const head = decodeHead(joined(got))
        if (!head) throw this.#unreadable('as a packed value: it has no head')
        const sizes = { packed: size, opened: 0 }
        if (size <= sizeMax && ledger.tryClaim({ need: () => ({ sizes }) })) {
          try {
            this.#first.keep({ value: await this.#whole(size, got, coming), size })
          } catch (error) {
            ledger.give({ packed: size })
            throw error
          }
        }
        this.#look = { head, size }
        return this.#look
      } finally {
        await coming.return?.()
      }
    })
  }

  async #whole(size: number, first: Parts, rest: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
    const bytes = await gather(size, { first, rest })
    if (typeof bytes !== 'number') return bytes
    throw this.#unreadable(`whole: it has ${bytes} of ${size} bytes`)
  }

  async #read(options: Parameters<ValuePlace['read']>[0]): ReturnType<ValuePlace['read']> {
    if (!this.#place) throw this.#closed()
    this.#shared.ledger.count('fetches')
    return this.#place.read(options)
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
    if (!this.#place) return 'a packed value in memory'
    const { key, namespace } = this.#place
    return `the value of ${key}${namespace === undefined ? '' : ` in ${namespace}`}`
  }

  #clock({ timings }: ValueOptions): Clock {
    return new Clock(this.#shared.total, timings)
  }

  /** Writes the packed bytes, which no store has. */
  async #spill(spill: (parts: Parts) => Promise<ValuePlace>): Promise<void> {
    this.#shared.ledger.count('spills')
    const place = await spill(this.#packed.value)
    // Somebody may have stored it meanwhile, for longer.
    if (this.#place) return
    this.#place = place
    this.#isSpilled = true
  }
}
