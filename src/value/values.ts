/** The packed values of a process. See rfc/23. */

import { randomUUID } from 'node:crypto'
import type { Kvs, ReadScope } from '../api/kvs.js'
import type { Codec, Packed, PackedValues, Parts, ValuesOptions } from '../api/value.js'
import {
  at,
  checkOptions,
  checkValue,
  count,
  invalid,
  list,
  oneOf,
  type Rule,
  shapeOf,
  text,
} from '../base/shape.js'
import { codecs as common } from './codecs.js'
import { checkHead, encodeHead } from './head.js'
import { Ledger } from './ledger.js'
import { openAll } from './opening.js'
import { PackedValue, type Shared, uses, type ValuePlace } from './packed.js'
import { Clock, newTimings } from './timings.js'

const packedMaxDefault = 256 * 1024 * 1024
const openedMaxDefault = 1024 * 1024 * 1024
/** The time that packed bytes stay where they were spilled, in ms. */
const spillTtl = 24 * 3_600_000
/** The directory of what was spilled. */
const spillDirectory = 'spill'

const object: Rule = {
  is: (value) => typeof value === 'object' && value !== null,
  expected: 'an object',
}
const all = shapeOf<ValuesOptions>({
  ...{
    packedMax: count,
    openedMax: count,
    wait: oneOf('wait', 'fail'),
    codecs: list,
    spill: object,
  },
})
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
  const codecs = new Map<string, Codec>()
  for (const codec of [...Object.values(common), ...(options.codecs ?? [])]) {
    checkHead(codec)
    codecs.set(codec.name, codec)
  }
  const total = newTimings()
  const ledger = new Ledger({ packed: packedMax, opened: openedMax })
  const shared: Shared = { ledger, codecs, total, wait, spill: spillInto(options.spill) }

  return {
    pack: async (value, named = 'msgpack', given = {}) => {
      checkOptions(given, uses)
      const codec = typeof named === 'string' ? codecs.get(named) : named
      if (!codec)
        throw invalid(`there is no codec ${named}: it is one of ${[...codecs.keys()].join(', ')}`)
      checkHead(codec)
      const clock = new Clock(total, given.timings)
      ledger.count('packs')
      const made = clock.run('pack', () => codec.pack(value))
      const parts: Parts = [encodeHead(codec), ...made]
      const size = parts.reduce((sum, { length }) => sum + length, 0)
      const { wait: waiting = wait, signal: ending } = given
      const sizes = { packed: size, opened: 0 }
      await clock.wait('wait', () => ledger.claim(sizes, { wait: waiting, signal: ending }))
      // These codecs open a view of the packed bytes, so the opened value is there already.
      const isView = codec === common.bytes || codec === common.array
      return PackedValue.inMemory(shared, { parts, size, ...(isView && { view: { value } }) })
    },
    from: <T>(kvs: Kvs, key: string, scope: Pick<ReadScope, 'namespace' | 'at'> = {}) => {
      checkValue('a key', key, text)
      checkOptions(scope, places)
      return PackedValue.stored<T>(shared, { kvs, key, scope })
    },
    useAll: async (values, fn, given = {}) => {
      checkOptions(given, uses)
      const asked = (values as readonly Packed<unknown>[]).map(own)
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

function own(value: Packed<unknown>): PackedValue<unknown> {
  if (value instanceof PackedValue) return value
  throw invalid('useAll takes values of openValues()')
}

function spillInto(spill: ValuesOptions['spill']): Shared['spill'] {
  if (!spill) return undefined
  const { store: kvs, namespace } = spill
  const scope = namespace === undefined ? {} : { namespace }
  return async (parts): Promise<ValuePlace> => {
    const key = `${spillDirectory}/${randomUUID()}`
    const { seq, result } = await kvs.put(key, streamOf(parts), { ...scope, ttl: spillTtl })
    const { ref } = result
    return { kvs, key, scope, ...(ref !== undefined && { seen: { ref, seq } }) }
  }
}

async function* streamOf(parts: Parts): AsyncGenerator<Uint8Array> {
  yield* parts
}
