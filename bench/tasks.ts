/** The tasks of writers and watchers, each in a process of its own: see worker.ts. Each
 *  task says when it is ready, waits to be told where that matters, and compares every byte that
 *  it gets. */

import { setTimeout as delay } from 'node:timers/promises'
import { Ripple } from '../src/cli/ripple.js'
import { now } from './measure.js'
import { checkRecord, makeRecord, RecordReader } from './record.js'
import type { Client } from './systems/system.js'
import { handOn, handOut, take } from './value-tasks.js'

/** The surroundings of a task: a client that is connected, and a way to connect another. */
export type Place = {
  readonly client: Client
  connect(): Promise<Client>
  /** Says that the task is ready. */
  ready(): void
  /** Resolves when the task is told to go. */
  gone(): Promise<void>
}

/** The most records of one log that `rate` reads again and compares after it wrote. */
const checkedMax = 1_000
/** The bytes of a pipe that are gathered before they are appended. */
const gatherSize = 64 * 1024
/** The most that is appended at once: a pipe gives at most 64 KiB more. */
export const gatherSizeMax = 2 * gatherSize

/** The part of its warm-up that `rate` counts by itself. */
const firstShare = 2 / 3

type Done = { readonly count: number; readonly ms: number }

/** Repeats one operation with so many in flight: for `warmMs`, of which `first` is the first part, and
 *  then for `ms`, which counts. Key `n` of a work is `prefix/n`. */
async function rate(
  { client, ready }: Place,
  args: {
    readonly work: 'append' | 'put' | 'get'
    readonly prefix: string
    readonly keys: number
    readonly inFlight: number
    readonly warmMs: number
    readonly ms: number
    readonly size: number
  },
): Promise<Done & { readonly first: Done }> {
  const { work, keys, size } = args
  const keyOf = (index: number) => `${args.prefix}/${index % keys}`
  const check = async (index: number) => {
    const value = await client.get(keyOf(index))
    if (!value) throw new Error(`${keyOf(index)} is not there`)
    if (checkRecord(value, size).index % keys !== index % keys) throw new Error('another value')
  }
  if (work === 'get') {
    await Promise.all(
      Array.from({ length: keys }, (_, at) => client.put(keyOf(at), makeRecord(at, size))),
    )
  }
  const steps = {
    append: (index: number) => client.append(keyOf(index), makeRecord(index, size)),
    put: (index: number) => client.put(keyOf(index), makeRecord(index, size)),
    get: check,
  }
  const step = steps[work]
  let next = 0
  let count = 0
  let inFirst = 0
  ready()
  const start = now()
  const firstMs = args.warmMs * firstShare
  const warm = start + args.warmMs
  const end = warm + args.ms
  const lane = async () => {
    while (now() < end) {
      await step(next++)
      const at = now()
      if (at >= warm) count++
      else if (at < start + firstMs) inFirst++
    }
  }
  await Promise.all(Array.from({ length: args.inFlight }, lane))
  const done = { count, ms: now() - warm, first: { count: inFirst, ms: firstMs } }
  if (work === 'put') await check(0)
  if (work === 'append') {
    let left = Math.min(Math.ceil(next / keys), checkedMax)
    const reader = new RecordReader(size, () => --left > 0)
    await client.follow(keyOf(0), (data) => reader.push(data))
  }
  return done
}

/** Appends a number of records over some keys in turn, with so many in flight, when it is told to
 *  go. The first one to each key is there when it is ready, and is not counted. */
async function spread(
  { client, ready, gone }: Place,
  args: {
    readonly keys: readonly string[]
    readonly records: number
    readonly inFlight: number
    readonly size: number
  },
): Promise<{ readonly startMs: number; readonly endMs: number }> {
  const { keys, size } = args
  const append = (index: number) =>
    client.append(keys[index % keys.length] ?? '', makeRecord(index, size))
  let next = 0
  const appendUpTo = (end: number) => {
    const lane = async () => {
      while (next < end) await append(next++)
    }
    return Promise.all(Array.from({ length: args.inFlight }, lane))
  }
  await appendUpTo(keys.length)
  ready()
  await gone()
  const startMs = now()
  await appendUpTo(keys.length + args.records)
  return { startMs, endMs: now() }
}

/** Watchers of `keys` in turn. It is ready when each has the first record of its key, and ends
 *  when each has as many `records` besides, each once. */
async function watch(
  place: Place,
  args: {
    readonly keys: readonly string[]
    readonly watchers: number
    readonly connections: 'own' | 'one'
    readonly records: number
    readonly size: number
  },
): Promise<{ readonly endMs: number }> {
  const { keys, watchers } = args
  const clients: Client[] = []
  for (let at = 0; at < (args.connections === 'own' ? watchers : 0); at++) {
    clients.push(await place.connect())
  }
  let begun = 0
  const follow = async (_: unknown, watcher: number) => {
    const client = clients[watcher] ?? place.client
    const seen = new Set<number>()
    const reader = new RecordReader(args.size, (index) => {
      if (seen.has(index)) throw new Error(`record ${index} came twice`)
      seen.add(index)
      if (seen.size === 1 && ++begun === watchers) place.ready()
      return seen.size < args.records + 1
    })
    await client.follow(keys[watcher % keys.length] ?? '', (data) => reader.push(data))
  }
  await Promise.all(Array.from({ length: watchers }, follow))
  const endMs = now()
  await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()))
  return { endMs }
}

/** Reads the last records of a log that `spread` wrote, again and again. Gives the time of each
 *  read, in ms. */
async function last(
  { client }: Place,
  args: {
    readonly key: string
    readonly length: number
    readonly count: number
    readonly reads: number
    readonly size: number
  },
): Promise<Float64Array> {
  const times = new Float64Array(args.reads)
  const first = args.length - args.count
  for (let read = 0; read < args.reads; read++) {
    const start = now()
    const records = (await client.last?.(args.key, args.count)) ?? []
    times[read] = now() - start
    const indices = records.map((record) => checkRecord(record, args.size).index)
    const expected = Array.from({ length: args.count }, (_, at) => first + at)
    // What was in flight together may stand in any order.
    const differs = expected.some((index) => !indices.includes(index))
    if (differs || indices.length !== args.count) throw new Error(`got ${indices}`)
  }
  return times
}

/** Puts values under `prefix/N`. */
async function fill(
  { client }: Place,
  args: {
    readonly prefix: string
    readonly keys: number
    readonly inFlight: number
    readonly size: number
  },
): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < args.keys) {
      const index = next++
      await client.put(`${args.prefix}/${index}`, makeRecord(index, args.size))
    }
  }
  await Promise.all(Array.from({ length: args.inFlight }, lane))
}

/** Gets some of the values that `fill` put, one after the other and far from each other. Gives the
 *  time of each, in ms. */
async function sample(
  { client }: Place,
  args: {
    readonly prefix: string
    readonly keys: number
    readonly gets: number
    readonly size: number
  },
): Promise<Float64Array> {
  const times = new Float64Array(args.gets)
  for (let get = 0; get < args.gets; get++) {
    const index = (get * 7_919) % args.keys
    const start = now()
    const value = await client.get(`${args.prefix}/${index}`)
    times[get] = now() - start
    if (!value || checkRecord(value, args.size).index !== index) throw new Error('another value')
  }
  return times
}

/** Lone appends, with a pause after each answer, when it is told to go. The first one is there
 *  when it is ready. Gives the time of each until its answer, in ms. */
async function pace(
  { client, ready, gone }: Place,
  args: {
    readonly key: string
    readonly records: number
    readonly size: number
    readonly pauseMs: number
  },
): Promise<Float64Array> {
  const answered = new Float64Array(args.records)
  await client.append(args.key, makeRecord(0, args.size))
  ready()
  await gone()
  for (let index = 0; index < args.records; index++) {
    await delay(args.pauseMs)
    const start = now()
    await client.append(args.key, makeRecord(index + 1, args.size, start))
    answered[index] = now() - start
  }
  return answered
}

/** Follows a log of `pace`. Gives the time from the call to here of each record behind the first,
 *  in ms. */
async function arrive(
  { client, ready }: Place,
  args: { readonly key: string; readonly records: number; readonly size: number },
): Promise<Float64Array> {
  const arrived = new Float64Array(args.records)
  let next = 0
  const reader = new RecordReader(args.size, (index, stamp) => {
    if (index !== next) throw new Error(`record ${index} came in place of ${next}`)
    if (index === 0) ready()
    else arrived[index - 1] = now() - stamp
    return ++next <= args.records
  })
  await client.follow(args.key, (data) => reader.push(data))
  return arrived
}

/** Appends what comes on stdin in pieces of at least 64 KiB. */
async function pipe(
  { client, ready }: Place,
  args: { readonly key: string; readonly inFlight: number },
): Promise<{ readonly appends: number }> {
  const inFlight = new Set<Promise<unknown>>()
  let open: Buffer[] = []
  let size = 0
  let appends = 0
  const flush = async () => {
    const append = client.append(args.key, Buffer.concat(open))
    open = []
    size = 0
    appends++
    inFlight.add(append)
    // One that fails stays, so that the race or the end throws it.
    void append.then(
      () => inFlight.delete(append),
      () => {},
    )
    if (inFlight.size >= args.inFlight) await Promise.race(inFlight)
  }
  ready()
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    open.push(chunk)
    size += chunk.length
    if (size >= gatherSize) await flush()
  }
  if (size > 0) await flush()
  await Promise.all(inFlight)
  return { appends }
}

/** Follows a log of the bytes that `lptest` prints, or reads it again. */
async function ripple(
  { client, ready }: Place,
  args: {
    readonly key: string
    readonly length: number
    readonly count: number
    readonly how: 'follow' | 'replay'
  },
): Promise<{ readonly bytes: number; readonly startMs: number; readonly endMs: number }> {
  const expected = new Ripple(args.length, args.count)
  let bytes = 0
  const startMs = now()
  const onData = (data: Uint8Array) => {
    const differs = expected.differs(bytes, data)
    if (differs !== undefined) throw new Error(`byte ${differs} is not what lptest prints`)
    bytes += data.length
    return bytes < expected.size
  }
  ready()
  if (args.how === 'replay' && client.replay) await client.replay(args.key, onData)
  else await client.follow(args.key, onData)
  if (bytes !== expected.size) throw new Error(`${bytes} bytes came, not ${expected.size}`)
  return { bytes, startMs, endMs: now() }
}

/** Computes actions, in an order that all who do so share: those in flight share the list, or `each` of
 *  them goes through all of it. Gives how many of them it made itself. */
async function compute(
  { client }: Place,
  args: {
    readonly prefix: string
    readonly count: number
    readonly inFlight: number
    readonly each: boolean
    readonly size: number
  },
): Promise<{ readonly made: number; readonly startMs: number; readonly endMs: number }> {
  const cached = cachedBy(client)
  const shared = { next: 0 }
  let made = 0
  const startMs = now()
  const lane = async () => {
    const place = args.each ? { next: 0 } : shared
    while (place.next < args.count) {
      const index = place.next++
      const value = await cached(`${args.prefix}/${index}`, async () => {
        made++
        return makeRecord(index, args.size)
      })
      if (checkRecord(value, args.size).index !== index) throw new Error('another result')
    }
  }
  await Promise.all(Array.from({ length: args.inFlight }, lane))
  return { made, startMs, endMs: now() }
}

/** Asks for results that are there, one after the other. Gives the time of each, in ms. */
async function hit(
  { client }: Place,
  args: {
    readonly prefix: string
    readonly count: number
    /** The number of results that are there. */
    readonly of: number
    readonly size: number
  },
): Promise<Float64Array> {
  const cached = cachedBy(client)
  const times = new Float64Array(args.count)
  const missed = async (): Promise<Buffer> => {
    throw new Error('a result is not there')
  }
  for (let at = 0; at < args.count; at++) {
    const index = (at * 7_919) % args.of
    const start = now()
    const value = await cached(`${args.prefix}/${index}`, missed)
    times[at] = now() - start
    if (checkRecord(value, args.size).index !== index) throw new Error('another result')
  }
  return times
}

/** The time of the work of `make`, in ms: another one asks meanwhile. */
const workMs = 20

/** Makes results one after the other. The time at which the work of each ended stands in it. */
async function make(
  { client }: Place,
  args: { readonly prefix: string; readonly count: number; readonly size: number },
): Promise<void> {
  const cached = cachedBy(client)
  for (let index = 0; index < args.count; index++) {
    await cached(`${args.prefix}/${index}`, async () => {
      await client.append(`${args.prefix}-log`, makeRecord(index, args.size))
      await delay(workMs)
      return makeRecord(index, args.size, now())
    })
  }
}

/** Waits for the results of `make`, each of which it asks for once its work has begun. Gives the time
 *  from the end of the work to here, in ms. */
async function wait(
  { client, connect }: Place,
  args: { readonly prefix: string; readonly count: number; readonly size: number },
): Promise<Float64Array> {
  const cached = cachedBy(client)
  const times = new Float64Array(args.count)
  const missed = async (): Promise<Buffer> => {
    throw new Error('nobody makes the result')
  }
  await using follower = await connect()
  const asked: Promise<void>[] = []
  const ask = async (index: number) => {
    const value = await cached(`${args.prefix}/${index}`, missed)
    times[index] = now() - checkRecord(value, args.size).stamp
  }
  const reader = new RecordReader(args.size, (index) => {
    asked.push(ask(index))
    return index < args.count - 1
  })
  await follower.follow(`${args.prefix}-log`, (data) => reader.push(data))
  await Promise.all(asked)
  return times
}

function cachedBy({ cached }: Client): NonNullable<Client['cached']> {
  if (!cached) throw new Error('it has no result cache')
  return cached
}

export const tasks = {
  ...{ rate, spread, watch, last, fill, sample, pace, arrive, pipe, ripple },
  ...{ compute, hit, make, await: wait },
  ...{ handOut, handOn, take },
}
