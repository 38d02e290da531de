/** A process that works on packed values of a server, and prints one line of JSON. Arguments: the server's address,
 *  what to do, and its arguments. */

import { writeSync } from 'node:fs'
import { connect, openValues } from '../../src/index.js'

const [target = '', what = '', ...args] = process.argv.slice(2)
await using store = await connect(target)
const tell = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`)

/** The store, with the calls that move a value counted. */
const moved = { reads: 0, puts: 0, putBytes: 0 }
/** The memory that was put. */
const memory = new Set<ArrayBufferLike>()
const counted = {
  ...store,
  read: (...given: Parameters<typeof store.read>) => {
    moved.reads++
    return store.read(...given)
  },
  put: (...given: Parameters<typeof store.put>) => {
    moved.puts++
    const [key, value, options] = given
    const chunks = async function* () {
      for await (const chunk of value as AsyncIterable<Uint8Array>) {
        moved.putBytes += chunk.length
        memory.add(chunk.buffer)
        yield chunk
      }
    }
    return store.put(key, chunks(), options)
  },
} as typeof store

if (what === 'pack') {
  // Packs so many numbers, and stores them.
  const [key = '', count = ''] = args
  const values = openValues()
  const numbers = Float64Array.from({ length: Number(count) }, (_, at) => at)
  const packed = await values.pack(numbers, 'array')
  await packed.store(counted, key)
  const isSame = await packed.use((same) => same === numbers)
  // The head, and the kind of the array, have memory of their own.
  const isView = memory.size === 3 && memory.has(numbers.buffer)
  tell({ isSame, isView, ...moved, counts: values.ledger().counts })
}
if (what === 'forward') {
  const [from = '', to = ''] = args
  const values = openValues()
  await values.from(counted, from).store(counted, to)
  const { counts, packed } = values.ledger()
  tell({ ...moved, counts, packed: packed.highest })
}
if (what === 'sum') {
  // Opens the value for so many who ask at once.
  const [key = '', waiters = ''] = args
  const values = openValues()
  const value = values.from<Float64Array>(counted, key)
  const sumOf = (numbers: Float64Array) => numbers.reduce((sum, number) => sum + number, 0)
  const sums = await Promise.all(Array.from({ length: Number(waiters) }, () => value.use(sumOf)))
  tell({ ...moved, sums: [...new Set(sums)], counts: values.ledger().counts })
}
if (what === 'race') {
  // While others overwrite the value: what is opened, streamed and forwarded at once is one value, and whole.
  const [key = '', to = '', times = ''] = args
  const values = openValues()
  const faults: unknown[] = []
  const seen = new Set<number>()
  for (let time = 0; time < Number(times); time++) {
    const value = values.from<Float64Array>(counted, key)
    const [opened, copy, streamed] = await Promise.all([
      value.use((numbers) => [...new Set(numbers)]),
      value.store(counted, to),
      value.bytes().then((bytes) => new Float64Array(bytes.slice(-8).buffer)[0]),
    ])
    const copied = await copy.use((numbers) => [...new Set(numbers as Float64Array)])
    const all = new Set([...opened, ...copied, streamed])
    if (all.size !== 1) faults.push({ time, opened, copied, streamed })
    for (const number of opened) seen.add(number)
    value[Symbol.dispose]()
    copy[Symbol.dispose]()
  }
  const { packed, opened } = values.ledger()
  tell({ faults, seen: [...seen], used: [packed.used, opened.used] })
}
if (what === 'through') {
  // Goes through values with little memory, some at a time: opens each, and asks for its bytes.
  const [prefix = '', count = '', max = ''] = args
  const values = openValues({ packedMax: Number(max) / 2, openedMax: Number(max) / 2 })
  let next = 0
  let bytes = 0
  const lane = async () => {
    while (next < Number(count)) {
      const value = values.from(counted, `${prefix}/${next++}`)
      await value.use(() => {})
      const { length } = await value.bytes()
      bytes += length
    }
  }
  await Promise.all(Array.from({ length: 8 }, lane))
  const { packed, opened } = values.ledger()
  tell({ bytes, highest: packed.highest + opened.highest })
}
