/** The tasks of the benchmark of packed values, each in a process of its own: see worker.ts and value.ts. */

import type { Packed } from '../src/api/value.js'
import { now } from './measure.js'
import type { Client } from './systems/system.js'

/** The surroundings of a task, as tasks.ts has them. */
type Surroundings = {
  readonly client: Client
  connect(): Promise<Client>
  ready(): void
  gone(): Promise<void>
}

/** A way to hand a value on. packed: as a packed value of one store. streamed: as one that the next process
 *  knows by another client, so that nothing can be copied by reference. raw: as bytes, by put and get. */
export type Way = 'packed' | 'streamed' | 'raw'

/** The time of a step, and the bytes that it handed on or took. */
type Step = { readonly startMs: number; readonly endMs: number; readonly size: number }

/** Makes an object of records, about 150 bytes each, and stores it when it is told to: packed before, since raw
 *  bytes are there before, too. */
export async function handOut(
  place: Surroundings,
  args: {
    readonly way: Way
    readonly key: string
    readonly seed: number
    readonly records: number
  },
): Promise<Step> {
  const { store, values } = valuesOf(place)
  const packed = await values.pack(recordsOf(args.seed, args.records))
  const bytes = args.way === 'raw' ? await packed.bytes() : undefined
  place.ready()
  await place.gone()
  const startMs = now()
  if (bytes) await store.put(args.key, bytes)
  else await packed.store(store, args.key)
  const endMs = now()
  const { size = 0 } = packed
  packed[Symbol.dispose]()
  return { startMs, endMs, size }
}

/** Hands a value on, from one key to another. */
export async function handOn(
  place: Surroundings,
  args: { readonly way: Way; readonly from: string; readonly to: string },
): Promise<Step> {
  const { store, values } = valuesOf(place)
  await using other = args.way === 'streamed' ? await place.connect() : undefined
  // The first request of a client opens its connection.
  const target = other ? valuesOf({ client: other }).store : store
  await target.stat(args.from)
  place.ready()
  await place.gone()
  const startMs = now()
  let size = 0
  if (args.way === 'raw') {
    const bytes = await store.get(args.from)
    if (!bytes) throw new Error(`${args.from} is not there`)
    size = bytes.length
    await store.put(args.to, bytes)
  } else {
    const before = values.ledger().counts.opens
    await values.from(store, args.from).store(target, args.to)
    if (values.ledger().counts.opens !== before) throw new Error('it was opened')
  }
  return { startMs, endMs: now(), size }
}

/** Takes a value: its packed bytes, and then what is in them. */
export async function take(
  place: Surroundings,
  args: {
    readonly way: Way
    readonly from: string
    readonly seed: number
    readonly records: number
  },
): Promise<Step & { readonly openedMs: number }> {
  const { store, values } = valuesOf(place)
  const startMs = now()
  const value: Packed<Records> = values.from<Records>(store, args.from)
  const bytes = args.way === 'raw' ? await store.get(args.from) : await value.bytes()
  const endMs = now()
  if (!bytes) throw new Error(`${args.from} is not there`)
  const isWhole = await value.use(({ seed, rows }) => {
    const last = rows[rows.length - 1]
    return seed === args.seed && rows.length === args.records && last?.id === args.records - 1
  })
  if (!isWhole) throw new Error('another value')
  const openedMs = now() - endMs
  value[Symbol.dispose]()
  return { startMs, endMs, size: bytes.length, openedMs }
}

type Records = {
  readonly seed: number
  readonly rows: readonly { readonly id: number; readonly name: string }[]
}

function recordsOf(seed: number, records: number): Records {
  const rows = Array.from({ length: records }, (_, id) => ({
    ...{ id, name: `record ${id} of ${seed}`, at: 1_790_000_000_000 + id * seed, amount: id / 7 },
    tags: ['water', 'race', `${id % 97}`],
    place: { river: 'Inn', kilometre: id % 517, level: (id * 31) % 1_000, flow: id / 3 },
    note: `${(id * seed) % 1_000_003} l/s`,
  }))
  return { seed, rows }
}

function valuesOf({ client }: Pick<Surroundings, 'client'>): NonNullable<Client['packed']> {
  if (!client.packed) throw new Error('it has no packed values')
  return client.packed
}
