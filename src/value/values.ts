/** The packed values of a process. See rfc/23. */

import { randomUUID } from 'node:crypto'
import type { Kvs, ReadScope } from '../api/kvs.js'
import type {
  Codec,
  Packed,
  PackedValues,
  Parts,
  ValueOptions,
  ValuesOptions,
} from '../api/value.js'
import {
  at,
  bytes,
  checkOptions,
  checkValue,
  count,
  invalid,
  list,
  object,
  oneOf,
  shapeOf,
  text,
} from '../base/shape.js'
import { reasonOf, TailraceError } from '../error.js'
import { piecesOf, sizeOf } from './bytes.js'
import { codecs as common } from './codecs.js'
import { checkHead, decodeHead, encodeHead, type PackedHead } from './head.js'
import { Ledger } from './ledger.js'
import { Looks } from './looks.js'
import { openAll } from './opening.js'
import { PackedValue, type Shared, uses } from './packed.js'
import { ValuePlace } from './place.js'
import { Clock, newTimings } from './timings.js'

export { newTimings }

const packedMaxDefault = 256 * 1024 * 1024
const openedMaxDefault = 1024 * 1024 * 1024
/** The time that packed bytes stay where they were spilled, in ms. */
const spillTtl = 24 * 3_600_000
/** The directory of what was spilled. */
const spillDirectory = 'spill'

const all = shapeOf<ValuesOptions>({
  ...{
    packedMax: count,
    openedMax: count,
    wait: oneOf('wait', 'fail'),
    codecs: list,
    spill: object,
  },
})
/** A value that is packed, in memory. */
type PackedBytes = { readonly parts: Parts; readonly size: number; readonly head: PackedHead }

const places = shapeOf<Pick<ReadScope, 'namespace' | 'at'>>({ namespace: text, at })

/** Opens the values of this process: one for all of its work, since each has a ledger of its own. Does
 *  no I/O. Throws EINVAL.
 *
 *      const values = openValues({ packedMax: 64 * 1024 * 1024 })
 *      const rows = values.from<Row[]>(store, 'tables/2026-11')
 *      const sum = await rows.use((rows) => rows.reduce((sum, row) => sum + row.amount, 0))
 *      await (await values.pack({ sum })).store(store, 'sums/2026-11')
 */
export function openValues(options: ValuesOptions = {}): PackedValues {
  checkOptions(options, all)
  const { packedMax = packedMaxDefault, openedMax = openedMaxDefault, wait = 'wait' } = options
  const codecs = codecsOf(options.codecs)
  const total = newTimings()
  const ledger = new Ledger({ packed: packedMax, opened: openedMax })
  const shared: Shared = {
    ...{ ledger, codecs, total, wait, looks: new Looks() },
    spill: spillInto(options.spill),
  }

  return {
    pack: async (value, named = 'msgpack', given = {}) => {
      checkOptions(given, uses)
      const codec = typeof named === 'string' ? codecs.get(named) : checkOwn(named)
      if (!codec)
        throw invalid(`there is no codec ${named}: it is one of ${[...codecs.keys()].join(', ')}`)
      const packing = newTimings()
      const clock = new Clock(total, given.timings, packing)
      // It is packed in its turn: so at most one value is packed before there is memory for it.
      let packed: PackedBytes | undefined
      const packOnce = () => {
        ledger.count('packs')
        return clock.run('pack', () => packWith(codec, value))
      }
      const inTurn = () => (packed ??= packOnce())
      const claim = { need: () => ({ sizes: { packed: inTurn().size, opened: 0 } }) }
      const { wait: waiting = wait, signal: ending } = given
      const claiming = () => ledger.claim(claim, { wait: waiting, signal: ending })
      await clock.wait('wait', claiming, () => packing.times.pack)
      // The values of these codecs are the same memory as their packed bytes.
      const isView = codec === common.bytes || codec === common.array
      const { parts, ...look } = inTurn()
      return PackedValue.inMemory(shared, parts, { ...look, ...(isView && { view: { value } }) })
    },
    of: async <T>(packed: Uint8Array, given: ValueOptions = {}) => {
      checkValue('packed bytes', packed, bytes)
      checkOptions(given, uses)
      const head = decodeHead(packed)
      if (!head) throw new TailraceError('ECORRUPT', 'the bytes are no packed value')
      const size = packed.length
      const { wait: waiting = wait, signal: ending } = given
      const clock = new Clock(total, given.timings)
      const claim = { need: () => ({ sizes: { packed: size, opened: 0 } }) }
      await clock.wait('wait', () => ledger.claim(claim, { wait: waiting, signal: ending }))
      return PackedValue.inMemory<T>(shared, [packed], { head, size })
    },
    from: <T>(kvs: Kvs, key: string, scope: Pick<ReadScope, 'namespace' | 'at'> = {}) => {
      checkValue('a key', key, text)
      checkOptions(scope, places)
      return PackedValue.stored<T>(shared, new ValuePlace(kvs, key, scope))
    },
    useAll: async (values, fn, given = {}) => {
      checkOptions(given, uses)
      const asked = (values as readonly Packed<unknown>[]).map((value) => own(value, shared))
      const opened = await openAll(shared, asked, given)
      try {
        const items = opened.map((each) => each.value)
        const clock = new Clock(total, given.timings)
        return await clock.wait('run', () => fn(...(items as never)))
      } finally {
        for (const each of opened) each[Symbol.dispose]()
      }
    },
    ledger: () => ledger.view,
    times: () => total.times,
  }
}

function own(value: Packed<unknown>, shared: Shared): PackedValue<unknown> {
  if (value instanceof PackedValue && value.isOf(shared)) return value
  throw invalid('useAll takes values of the same openValues(), whose ledger counts their memory')
}

/** Returns the codecs that values are opened with, by name. Throws EINVAL. */
function codecsOf(own: ValuesOptions['codecs'] = []): ReadonlyMap<string, Codec> {
  const codecs = new Map<string, Codec>(Object.entries(common))
  for (const codec of own) {
    const { name } = checkOwn(codec)
    if (codecs.has(name)) throw invalid(`there are two codecs ${name}: give each a name of its own`)
    codecs.set(name, codec)
  }
  return codecs
}

/** Throws EINVAL unless it is a codec, and no other one of all has its name. */
function checkOwn<T>(codec: Codec<T>): Codec<T> {
  if (typeof codec?.pack !== 'function' || typeof codec.unpack !== 'function') {
    throw invalid('a codec has a name, a version, pack and unpack')
  }
  checkHead(codec)
  if (!Object.hasOwn(common, codec.name)) return codec
  throw invalid(`the codec ${codec.name} is there already: give yours another name`)
}

/** Packs a value. Throws EINVAL if the codec does not take it. */
function packWith<T>(codec: Codec<T>, value: T): PackedBytes {
  const head = encodeHead(codec)
  const parts = [head, ...partsOf(codec, value)]
  const { name, version } = codec
  const size = sizeOf(parts)
  return { parts, size, head: { name, version, size: head.length } }
}

function partsOf<T>(codec: Codec<T>, value: T): Parts {
  try {
    const parts = codec.pack(value)
    if (Array.isArray(parts) && parts.every(bytes.is)) return parts
  } catch (cause) {
    if (cause instanceof TailraceError) throw cause
    const message = `the codec ${codec.name} does not take the value: ${reasonOf(cause)}`
    throw new TailraceError('EINVAL', message, { cause })
  }
  throw invalid(`the codec ${codec.name} has to pack a value into an array of Uint8Arrays`)
}

function spillInto(spill: ValuesOptions['spill']): Shared['spill'] {
  if (!spill) return undefined
  const { store: kvs, namespace } = spill
  const scope = namespace === undefined ? {} : { namespace }
  return async (parts) => {
    const key = `${spillDirectory}/${randomUUID()}`
    const { seq, result } = await kvs.put(key, streamOf(parts), { ...scope, ttl: spillTtl })
    return new ValuePlace(kvs, key, scope, { seq, ref: result.ref })
  }
}

async function* streamOf(parts: Parts): AsyncGenerator<Uint8Array> {
  yield* piecesOf(parts)
}
