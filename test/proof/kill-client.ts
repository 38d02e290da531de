/** A process of clients that work on a server which is killed again and again, and write down what they
 *  asked and what they were told, until they hear that it is over. Arguments: the server's address, a
 *  name for the process, a seed, how many clients. See kill.ts. */

import { writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../src/api/store.js'
import type { Guard } from '../../src/api/transaction.js'
import type { Position } from '../../src/api/watch.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { connect } from '../../src/client/node.js'
import { isCode, type TailraceError, toTailraceError } from '../../src/error.js'
import { mulberry32 } from '../engine/flaky.js'
import {
  blobsOf,
  type KillRecord,
  keysOf,
  largeSize,
  now,
  type Order,
  type Outcome,
} from './kill-record.js'
import type { Met } from './register.js'

const [target = '', name = '', seed = '', clients = ''] = process.argv.slice(2)
const reconnect = { minMs: 1, maxMs: 20 }
/** Every so many appends one is of two blobs. */
const largeEvery = 60

/** ESEALED: a log of a generation that is over. */
const expected: ReadonlySet<string> = new Set(['EUNKNOWN', 'ECLOSED', 'ECONFLICT', 'ESEALED'])

const run = { generation: 0, over: false }
process.on('message', (order: Order) => {
  if ('over' in order) run.over = true
  else run.generation = order.generation
})
// A parent that has gone has nothing to hear.
process.on('disconnect', () => process.exit(1))

function tell(record: KillRecord): void {
  writeSync(1, `${JSON.stringify(record)}\n`)
}

type Answer<T> =
  | { readonly outcome: 'acknowledged'; readonly value: T }
  | { readonly outcome: 'failed' | 'unknown'; readonly error: TailraceError }

class Worker {
  readonly #store: Store
  readonly #name: string
  readonly #random: () => number
  #count = 0
  /** What a read last saw of a key, for guards to come. */
  readonly #seen = new Map<string, { readonly text: string; readonly ref: string }>()

  constructor(store: Store, workerName: string, random: () => number) {
    this.#store = store
    this.#name = workerName
    this.#random = random
  }

  async work(): Promise<void> {
    while (!run.over) {
      const keys = keysOf(run.generation)
      const dice = this.#random()
      if (dice < 0.35) await this.#onLog(this.#one(keys.logs))
      else if (dice < 0.45) await this.#onPair(keys.pair)
      else if (dice < 0.7) await this.#onMixed(this.#one(keys.mixed))
      else await this.#onRegister(this.#one(keys.registers))
    }
  }

  async #onRegister(key: string): Promise<void> {
    const dice = this.#random()
    if (dice < 0.35) await this.#read(key)
    else if (dice < 0.6) await this.#put(key, undefined)
    else if (dice < 0.75) await this.#put(key, null)
    else if (dice < 0.9) await this.#put(key, this.#seen.get(key)?.text)
    else await this.#unlink(key)
  }

  async #onMixed(key: string): Promise<void> {
    const dice = this.#random()
    if (dice < 0.3) await this.#read(key)
    else if (dice < 0.75) await this.#append(key)
    else if (dice < 0.85) await this.#put(key, undefined)
    else if (dice < 0.95) await this.#put(key, this.#seen.get(key)?.text)
    else await this.#unlink(key)
  }

  async #onLog(key: string): Promise<void> {
    if (this.#random() < 0.2) {
      await this.#readLog(key)
      return
    }
    const large = this.#random() < 1 / largeEvery
    const item = this.#item(large ? '!' : '')
    const line = large ? `${item.padEnd(largeSize - 1, '.')}\n` : `${item}\n`
    const start = now()
    // One that is sent again until it is answered lands once, and is never unknown.
    const exactlyOnce = this.#random() < 0.2
    const answer = await this.#ask(this.#store.append(key, line, { exactlyOnce }))
    if (exactlyOnce && answer.outcome === 'unknown') {
      tell({ type: 'fault', what: `${key}: ${item} was to be sent until it is answered` })
    }
    const told =
      answer.outcome === 'acknowledged'
        ? { index: answer.value.result.index ?? -1, seq: answer.value.seq }
        : {}
    tell({ type: 'append', key, start, end: now(), outcome: answer.outcome, item, ...told })
  }

  /** Both or neither: read at one root, they are equal. */
  async #onPair(pair: readonly [string, string]): Promise<void> {
    const [key] = pair
    const start = now()
    if (this.#random() < 0.5) {
      const answer = await this.#ask(this.#store.readMany(pair))
      if (answer.outcome !== 'acknowledged') return
      const [one, other] = answer.value.values.map(
        (bytes) => bytes && Buffer.from(bytes).toString(),
      )
      if (one !== other) tell({ type: 'fault', what: `${key}: torn, ${one} beside ${other}` })
      const op = { type: 'read', sees: one } as const
      tell({ type: 'op', key, start, end: now(), outcome: 'acknowledged', op })
      return
    }
    const text = this.#item()
    const ops = pair.map((each) => ({ op: 'put', key: each, value: text }) as const)
    const answer = await this.#ask(this.#store.commit({ ops }))
    const { outcome } = answer
    const seq = outcome === 'acknowledged' ? { seq: answer.value.seq } : {}
    tell({ type: 'op', key, start, end: now(), outcome, op: { type: 'put', text }, ...seq })
  }

  async #read(key: string): Promise<void> {
    const start = now()
    const answer = await this.#ask(this.#readAll(key))
    if (answer.outcome !== 'acknowledged') return
    const { value } = answer
    if (value) this.#seen.set(key, value)
    const op = { type: 'read', sees: value?.text } as const
    const ref = value ? { ref: value.ref } : {}
    tell({ type: 'op', key, start, end: now(), outcome: 'acknowledged', op, ...ref })
  }

  async #readAll(key: string) {
    const reading = await this.#store.read(key)
    if (!reading) return undefined
    return { text: await textOf(reading.chunks), ref: reading.stat.ref }
  }

  async #readLog(key: string): Promise<void> {
    const start = now()
    const answer = await this.#ask(this.#readAll(key))
    if (answer.outcome !== 'acknowledged') return
    const lines = answer.value?.text.split('\n') ?? ['']
    if (lines.pop() !== '') tell({ type: 'fault', what: `${key}: a read ends within an item` })
    tell({ type: 'read', key, start, end: now(), from: 0, items: lines.flatMap(entriesOf) })
  }

  /** `expects`: a text that was read (its ref guards), null: nothing, undefined: no guard. */
  async #put(key: string, expects: string | null | undefined): Promise<void> {
    const text = this.#item()
    const seen = this.#seen.get(key)
    const guards: Guard[] = []
    if (expects === null) guards.push({ key, absent: true })
    else if (expects !== undefined) guards.push({ key, ref: seen?.ref ?? '' })
    const start = now()
    const answer = await this.#ask(this.#store.put(key, text, { guards }))
    const end = now()
    const op = { type: 'put', text, ...(expects === undefined ? {} : { expects }) } as const
    if (answer.outcome === 'acknowledged') {
      const { seq } = answer.value
      const done = { ...op, ...(expects === undefined ? {} : { refused: false as const }) }
      tell({ type: 'op', key, start, end, outcome: 'acknowledged', op: done, seq })
      return
    }
    const { outcome, error } = answer
    if (!isCode(error, 'ECONFLICT')) {
      tell({ type: 'op', key, start, end, outcome, op })
      return
    }
    const met = metOf(error.failed?.state)
    tell({ type: 'op', key, start, end, outcome: 'acknowledged', op: { ...op, refused: met }, met })
  }

  async #append(key: string): Promise<void> {
    const text = this.#item()
    const start = now()
    const answer = await this.#ask(this.#store.append(key, text))
    const { outcome } = answer
    if (answer.outcome !== 'acknowledged') {
      tell({ type: 'op', key, start, end: now(), outcome, op: { type: 'append', text } })
      return
    }
    const { seq, result } = answer.value
    const told = { index: result.index ?? -1, count: result.count ?? -1 }
    const op = { type: 'append', text, answer: told } as const
    tell({ type: 'op', key, start, end: now(), outcome, op, seq })
  }

  async #unlink(key: string): Promise<void> {
    const start = now()
    const answer = await this.#ask(this.#store.commit({ ops: [{ op: 'unlink', key }] }))
    const { outcome } = answer
    const seq = answer.outcome === 'acknowledged' ? { seq: answer.value.seq } : {}
    tell({ type: 'op', key, start, end: now(), outcome, op: { type: 'unlink' }, ...seq })
  }

  #item(mark = ''): string {
    return `<${this.#name}.${this.#count++}${mark}>`
  }

  #one<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.#random() * list.length)]
    if (item === undefined) throw new Error('nothing to choose from')
    return item
  }

  /** Waits for the server after it was not there. A guard that does not hold is an answer. */
  async #ask<T>(call: Promise<T>): Promise<Answer<T>> {
    try {
      return { outcome: 'acknowledged', value: await call }
    } catch (thrown) {
      const error = toTailraceError(thrown)
      const outcome: Outcome = error.code === 'EUNKNOWN' ? 'unknown' : 'failed'
      if (!expected.has(error.code)) {
        tell({ type: 'fault', what: `a client was told ${error.code}: ${error.message}` })
      }
      while (error.code === 'ECLOSED' && !(await isThere(this.#store))) await pause(3)
      return { outcome, error }
    }
  }
}

async function isThere(store: Store): Promise<boolean> {
  if (run.over) return true
  const ended = AbortSignal.timeout(500)
  return store.root({ signal: ended }).then(
    () => true,
    () => false,
  )
}

async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return Buffer.concat(parts).toString()
}

/** Of a line of a log: what fills a large one up says nothing more, but must be whole. */
function entriesOf(line: string): readonly string[] {
  const item = line.slice(0, line.indexOf('>') + 1)
  const entries = blobsOf(item)
  const size = entries.length > 1 ? largeSize - 1 : item.length
  return line.length === size ? entries : [`${item} of ${line.length} bytes`]
}

function metOf(state: unknown): Met & { readonly ref?: string } {
  const fields = typeof state === 'object' && state !== null ? state : {}
  const absent = 'absent' in fields
  const count = 'count' in fields ? Number(fields.count) : 0
  return { absent, count, ...('ref' in fields ? { ref: String(fields.ref) } : {}) }
}

/** Follows a log to its seal. A restless one leaves now and then and comes back with its position. */
async function follow(
  store: Store,
  key: string,
  watcher: string,
  restless: boolean,
): Promise<void> {
  const random = mulberry32(watcher.length + key.length)
  let position: Position | undefined
  let entry = ''
  for (;;) {
    const start = now()
    const from = position ? { from: position } : {}
    const index = position?.index ?? 0
    tell({ type: 'event', key, watcher, time: start, index, marker: 'start' })
    let left = restless ? 1 + Math.floor(random() * 40) : Number.POSITIVE_INFINITY
    for await (const event of store.watch(key, {
      mode: 'append',
      waitCreate: !position,
      ...from,
    })) {
      const time = now()
      if (event.type === 'value' || event.type === 'lease' || event.type === 'changes') {
        throw new Error(`${event.type} where appends were asked for`)
      }
      position = event.position ?? position
      if (event.type === 'append') {
        entry = entryOf(Buffer.from(event.data), entry)
        tell({ type: 'event', key, watcher, time, index: event.index, item: entry })
      } else {
        const { type: marker } = event
        tell({ type: 'event', key, watcher, time, index: event.position?.index ?? 0, marker })
        if (marker === 'end') return
      }
      left--
      if (left <= 0) break
    }
  }
}

/** A blob: an item, or the rest of a large one, which was the entry before. */
function entryOf(data: Buffer, before: string): string {
  const text = data.toString()
  const rest = largeSize - blobSizeMax
  if (/^\.+\n$/.test(text) && data.length === rest) return `${before}+`
  const item = text.slice(0, text.indexOf('>') + 1)
  const size = blobsOf(item).length > 1 ? blobSizeMax : item.length + 1
  return data.length === size ? item : `${item} of ${data.length} bytes`
}

async function followAll(store: Store): Promise<void> {
  const following: Promise<void>[] = []
  for (let generation = 0; !run.over; generation++) {
    for (const key of keysOf(generation).logs) {
      for (const restless of [false, true]) {
        const watcher = `${name}.${restless ? 'restless' : 'steady'}`
        const told = follow(store, key, watcher, restless).catch((error: unknown) =>
          tell({ type: 'fault', what: `${watcher} of ${key}: ${toTailraceError(error)}` }),
        )
        following.push(told)
      }
    }
    while (run.generation === generation && !run.over) await pause(5)
  }
  await Promise.all(following)
}

const random = mulberry32(Number(seed))
const stores = await Promise.all(
  Array.from({ length: Number(clients) + 1 }, () => connect(target, { reconnect })),
)
const [watching, ...working] = stores
if (!watching) throw new Error('there is a store for each client, and one for the watchers')
const workers = working.map(
  (store, index) => new Worker(store, `${name}.${index}`, mulberry32(random() * 2 ** 32)),
)
process.send?.('ready')
const followed = followAll(watching)
await Promise.all(workers.map((worker) => worker.work()))
process.send?.('idle')
await followed
for (const store of stores) await store[Symbol.asyncDispose]()
process.removeAllListeners('disconnect')
process.disconnect()
