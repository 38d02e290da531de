/** `tailrace tail`: the last lines or bytes of a key, and what is appended after. See rfc/7.
 *  Invariant: whatever the length of the log, only the blobs at its end are read, and a window of them is
 *  held; with `--follow` no byte is left out between the end that was found and what comes. */

import type { Stat } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import type { AppendEvent, LiveEvent } from '../api/watch.js'
import { TailraceError } from '../error.js'
import { jobsNamespace } from '../job/keys.js'
import { atOneRoot } from '../store/at-one-root.js'
import { argument, defined, type Invocation, parseInteger, UsageError } from './invocation.js'
import { logEvents } from './log-events.js'
import { followStore, withStore } from './session.js'
import { ValueOutput } from './value-output.js'

const linesDefault = 10
/** Bytes that the search for a line's begin reads first, and at most at once: each look takes four times
 *  those of the one before. */
const windowMin = 1_024
const windowMax = 4 * 1024 * 1024
const windowGrowth = 4
const newline = 10

/** `last`: so many from the end; otherwise from the so-manieth on, counted from 1, as `tail -n +3` has it. */
type Start = { readonly unit: 'lines' | 'bytes'; readonly count: number; readonly last: boolean }

type Chunks = AsyncIterable<Uint8Array>
type LogEvents = ReturnType<typeof logEvents>
/** A stretch of the value at one root. */
type Stretch = { readonly at: number; readonly from: number; readonly to: number }

export async function tail(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options } = invocation
  const start = startOf(options.text('lines'), options.text('bytes'))
  const namespace = options.text('namespace')
  if (namespace === jobsNamespace) refuseJobs(key)
  const isFollowed = options.flag('follow')
  return (isFollowed ? followStore : withStore)(invocation, async (store) => {
    const value = new Value(store, key, namespace)
    const output = new ValueOutput(invocation.stdout, { force: options.flag('force') })
    if (!isFollowed) {
      await print(output, await atOneRoot(async () => value.open(await value.now(), start)))
      await output.end()
      return undefined
    }
    const waitCreate = options.flag('waitCreate')
    const { chunks, watching } = await atOneRoot(() =>
      begin(value, start, value.watch(invocation, waitCreate)),
    )
    await print(output, chunks)
    await output.release()
    for await (const event of watching) {
      if (event.type === 'append') await output.write(event.data)
    }
    await output.end()
    return undefined
  })
}

/** The watch begins first: what it says of the end is of the history that it goes on with. */
async function begin(
  value: Value,
  start: Start,
  watching: LogEvents,
): Promise<{ readonly chunks: Chunks; readonly watching: LogEvents }> {
  try {
    return { chunks: await value.open(await value.before(watching), start), watching }
  } catch (error) {
    await watching.return()
    throw error
  }
}

/** Refuses the logs of jobs: they hold events, not lines. */
function refuseJobs(key: string): void {
  const [, id = '', part] = /^\/*(f[0-9a-v]{12})\/+(output|events)\/*$/.exec(key) ?? []
  if (part === undefined) return
  const command = part === 'output' ? `attach --tail 10 ${id}` : `attach --events ${id}`
  throw new UsageError(`${key} is a log of events: use "tailrace ${command}"`)
}

class Value {
  readonly #store: Store
  readonly #key: string
  readonly #namespace: string | undefined

  constructor(store: Store, key: string, namespace: string | undefined) {
    this.#store = store
    this.#key = key
    this.#namespace = namespace
  }

  /** All that is there. Throws ENOENT, EISDIR. */
  async now(): Promise<Stretch> {
    const stat = await this.#stat(undefined)
    return { at: stat.seq, from: stat.base?.size ?? 0, to: stat.size }
  }

  /** All that is there before what the watch will give. Throws as the watch. */
  async before(watching: LogEvents): Promise<Stretch> {
    for (;;) {
      const next = await watching.next()
      if (next.done) throw new TailraceError('ECANCELED', 'the watch ended before it began')
      const event = next.value
      if (event.type === 'append') {
        const stat = await this.#stat(event.seq)
        return { at: event.seq, from: stat.base?.size ?? 0, to: endOf(event) }
      }
      if (event.type === 'live') return this.#empty(event)
    }
  }

  watch(invocation: Invocation, waitCreate: boolean): LogEvents {
    const options = { from: -1, ...defined({ namespace: this.#namespace }) }
    const asked = waitCreate ? { ...options, waitCreate } : options
    return logEvents(invocation, this.#store, this.#key, asked)
  }

  /** Opens a stretch from the start on. From here on its root need not be retained. Throws ECOMPACTED where the
   *  root was dropped before. */
  async open(stretch: Stretch, start: Start): Promise<Chunks> {
    return this.#open({ ...stretch, from: await this.#begin(stretch, start) })
  }

  async #begin(stretch: Stretch, { unit, count, last }: Start): Promise<number> {
    const { from, to } = stretch
    if (unit === 'lines') {
      return last ? this.#lastLines(stretch, count) : this.#line(stretch, count)
    }
    return last ? Math.max(from, to - count) : Math.min(to, from + Math.max(0, count - 1))
  }

  /** Where the last `count` lines begin. A last line without its newline counts as one. */
  async #lastLines(stretch: Stretch, count: number): Promise<number> {
    const { from, to } = stretch
    if (count === 0) return to
    let left = count
    let end = to
    for (let window = windowMin; end > from; window = Math.min(windowMax, window * windowGrowth)) {
      const begin = Math.max(from, end - window)
      const bytes = await this.#bytes({ ...stretch, from: begin, to: end })
      // The newline that ends the value ends its last line, and begins none.
      const first = end === to ? bytes.length - 2 : bytes.length - 1
      for (let at = first; at >= 0; at--) {
        if (bytes[at] === newline && --left === 0) return begin + at + 1
      }
      end = begin
    }
    return from
  }

  /** Where line `number` begins, counted from 1. */
  async #line(stretch: Stretch, number: number): Promise<number> {
    let left = number - 1
    let begin = stretch.from
    if (left <= 0) return begin
    for await (const chunk of await this.#open(stretch)) {
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) {
        if (--left === 0) return begin + at + 1
      }
      begin += chunk.length
    }
    return stretch.to
  }

  async #bytes(stretch: Stretch): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    for await (const chunk of await this.#open(stretch)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  async #open({ at, from, to }: Stretch): Promise<Chunks> {
    if (from >= to) return nothing()
    const scope = defined({ namespace: this.#namespace })
    const reading = await this.#store.read(this.#key, { ...scope, at, from, to })
    return reading?.chunks ?? nothing()
  }

  /** Nothing is there yet, or all of it was trimmed. */
  async #empty({ position }: LiveEvent): Promise<Stretch> {
    if (!position) return { at: 0, from: 0, to: 0 }
    const { seq } = await this.#store.root(defined({ namespace: this.#namespace }))
    return { at: seq, from: position.index, to: position.index }
  }

  async #stat(at: number | undefined): Promise<Stat> {
    const scope = defined({ namespace: this.#namespace, at })
    const stat = await this.#store.stat(this.#key, scope)
    if (!stat) throw new TailraceError('ENOENT', `there is no key "${this.#key}"`)
    if (stat.type === 'dir') {
      throw new TailraceError('EISDIR', `"${this.#key}" is a directory: list it`)
    }
    return stat
  }
}

async function print(output: ValueOutput, chunks: Chunks): Promise<void> {
  for await (const chunk of chunks) await output.write(chunk)
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function endOf({ offset, data }: AppendEvent): number {
  return offset + data.length
}

function startOf(lines: string | undefined, bytes: string | undefined): Start {
  if (lines !== undefined && bytes !== undefined) {
    throw new UsageError('--lines and --bytes exclude each other')
  }
  const unit = bytes === undefined ? 'lines' : 'bytes'
  const text = bytes ?? lines ?? String(linesDefault)
  // `-n -5` is what some write for `-n 5`.
  const count = Math.abs(parseInteger(`--${unit}`, text, Number.MIN_SAFE_INTEGER))
  return { unit, count, last: !text.startsWith('+') }
}
