/** `tailrace tail`: the last lines or bytes of a key, and what is appended after; `tailrace trim`,
 *  which drops the head of a log. See rfc/7, rfc/19.
 *  Invariant: whatever the length of the log, only the blobs at its end are read, and a window of
 *  them is held; with `--follow` no byte is left out between the end that was found and what
 *  comes. */

import type { Stat } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import type { TrimTo } from '../api/transaction.js'
import type { AppendEvent, LiveEvent } from '../api/watch.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { atOneRoot } from '../store/at-one-root.js'
import {
  argument,
  type CommandContext,
  command,
  flag,
  key,
  option,
  UsageError,
  type ValueKind,
} from './command.js'
import { forceAlone, ifLease, json, longNamespace, namespace, place } from './options.js'
import { type NamedRoot, root, wholeRoot } from './roots.js'
import { followStore, withStore } from './session.js'
import { duration, integer } from './units.js'
import { ValueOutput } from './value-output.js'
import { logEvents } from './watch.js'
import { commit } from './write.js'

const linesDefault = 10
/** The number of bytes that the search for the beginning of a line reads first, and at most at
 *  once. Each read takes four times as many as the one before. */
const windowMin = 1_024
const windowMax = 4 * 1024 * 1024
const windowGrowth = 4
const newline = 10

/** A number of lines or bytes. With `last` it counts from the end; otherwise it is where to begin,
 *  counted from 1, as in `tail -n +3`. */
type Count = { readonly count: number; readonly last: boolean }
type Start = Count & { readonly unit: 'lines' | 'bytes' }

const count: ValueKind<Count> = {
  parse: (text, what, literal) => {
    const number = integer(Number.MIN_SAFE_INTEGER).parse(text, what, literal)
    // Some write `-n -5` for `-n 5`.
    return { count: Math.abs(number), last: !text.startsWith('+') }
  },
}

type Chunks = AsyncIterable<Uint8Array>
type LogEvents = ReturnType<typeof logEvents>
/** A range of bytes of the value at one root. */
type Stretch = { readonly at: number; readonly from: number; readonly to: number }

export const tail = command({
  name: 'tail',
  summary: 'print the last lines of a key, and follow it',
  description:
    'Print the last lines (or bytes) of a key. Only the end of it is read, however long it is. With ' +
    '--follow, what is appended is printed as it comes, until the key is sealed.',
  parameters: { key: argument('<key>', key) },
  options: {
    lines: option('-n, --lines <n>', 'the last n lines (default: 10); +n: from line n on', count, {
      excludes: ['bytes'],
    }),
    bytes: option('-c, --bytes <n>', 'the last n bytes; +n: from byte n on', count),
    since: option('--since <seq|time>', 'what came after that retained root (10m: ago)', root, {
      excludes: ['bytes', 'lines'],
    }),
    follow: flag('-f, --follow', 'go on with what is appended'),
    waitCreate: flag('--wait-create', 'with --follow: wait until the key is there', {
      needs: 'follow',
    }),
    force: forceAlone,
    namespace: longNamespace,
    ...place,
  },
  examples: [
    'tailrace tail build/log',
    'tailrace tail build/log -n 3 -f',
    'tailrace tail build/log -c 100',
    'tailrace tail build/log --since 10m -f',
  ],
  makesStore: 'waitCreate',
  run: async (call) => {
    const { args, options, stdout } = call
    const { bytes, lines = { count: linesDefault, last: true }, namespace } = options
    const given: Start = bytes ? { unit: 'bytes', ...bytes } : { unit: 'lines', ...lines }
    if (namespace === jobsNamespace) refuseJobs(args.key)
    return (options.follow ? followStore : withStore)(call, async (store) => {
      const start = (await startSince(store, args.key, options)) ?? given
      const value = new LogValue(store, args.key, namespace)
      const output = new ValueOutput(stdout, { force: options.force })
      if (!options.follow) {
        await print(output, await atOneRoot(async () => value.open(await value.now(), start)))
        await output.end()
        return
      }
      const { chunks, watching } = await atOneRoot(() =>
        begin(value, start, value.watch(call, options.waitCreate)),
      )
      await print(output, chunks)
      await output.release()
      for await (const event of watching) {
        if (event.type === 'append') await output.write(event.data)
      }
      await output.end()
    })
  },
})

/** Returns the start behind what was there at a root; undefined if no root was named. */
async function startSince(
  store: Store,
  key: string,
  {
    since,
    namespace,
  }: { readonly since: NamedRoot | undefined; readonly namespace: string | undefined },
): Promise<Start | undefined> {
  if (since === undefined) return undefined
  const at = await wholeRoot(store, since, namespace)
  const stat = await store.stat(key, { at, ...defined({ namespace }) })
  return { unit: 'bytes', count: (stat?.size ?? 0) + 1, last: false }
}

/** Begins the watch first, so that the end that it finds belongs to the history that it goes on
 *  with. */
async function begin(
  value: LogValue,
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

class LogValue {
  readonly #store: Store
  readonly #key: string
  readonly #namespace: string | undefined

  constructor(store: Store, key: string, namespace: string | undefined) {
    this.#store = store
    this.#key = key
    this.#namespace = namespace
  }

  /** Returns the range of all that is there. Throws ENOENT, EISDIR. */
  async now(): Promise<Stretch> {
    const stat = await this.#stat(undefined)
    return { at: stat.seq, from: stat.base?.size ?? 0, to: stat.size }
  }

  /** Returns the range of all that is there before what the watch will deliver. Throws what the
   *  watch throws. */
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

  watch(call: Pick<CommandContext, 'stderr'>, waitCreate: boolean): LogEvents {
    const options = { from: -1, ...defined({ namespace: this.#namespace }) }
    const asked = waitCreate ? { ...options, waitCreate } : options
    return logEvents(call, this.#store, this.#key, asked)
  }

  /** Opens a range from the start on. Once it is open its root need not be retained. Throws
   *  ECOMPACTED where the root was dropped before. */
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

  /** Returns the offset at which the last `count` lines begin. A last line without a newline counts
   *  as one. */
  async #lastLines(stretch: Stretch, count: number): Promise<number> {
    const { from, to } = stretch
    if (count === 0) return to
    let left = count
    let end = to
    for (let window = windowMin; end > from; window = Math.min(windowMax, window * windowGrowth)) {
      const begin = Math.max(from, end - window)
      const bytes = await this.#bytes({ ...stretch, from: begin, to: end })
      // A newline at the end of the value ends the last line, and begins no other.
      const first = end === to ? bytes.length - 2 : bytes.length - 1
      for (let at = first; at >= 0; at--) {
        if (bytes[at] === newline && --left === 0) return begin + at + 1
      }
      end = begin
    }
    return from
  }

  /** Returns the offset at which line `number` begins, counted from 1. */
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

  /** Returns an empty range: the log is not there yet, or all of it was trimmed. */
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

export const trim = command({
  name: 'trim',
  summary: 'drop the oldest appends of a key',
  description:
    'Drop appends from the head of a key. What is left keeps its indices and byte offsets; a watcher ' +
    'that wanted what is gone is told where the key begins now. --older-than goes by times that the ' +
    'store notes about once a minute, and drops nothing that may be younger.',
  parameters: { key: argument('<key>', key) },
  options: {
    keep: option('--keep <n>', 'all but the last n appends (blobs)', integer()),
    before: option('--before <index>', 'those before that index', integer()),
    bytes: option('--bytes <n>', 'all but the last appends that have n bytes', integer()),
    olderThan: option(
      '--older-than <time>',
      'those that were there so long ago: 90s, 12h, 7d',
      duration,
    ),
    namespace,
    ...ifLease,
    json,
    ...place,
  },
  examples: ['tailrace trim build/log --keep 1000', 'tailrace trim build/log --older-than 7d'],
  run: async (call) => {
    const { keep, before, bytes, olderThan } = call.options
    const given: TrimTo[] = []
    if (before !== undefined) given.push({ before })
    if (keep !== undefined) given.push({ keep })
    if (bytes !== undefined) given.push({ keepBytes: bytes })
    if (olderThan !== undefined) given.push({ olderThan })
    const [to, ...others] = given
    if (!to || others.length > 0) {
      throw new UsageError('trim takes one of --keep, --before, --bytes and --older-than')
    }
    const op = { op: 'trim', key: call.args.key, ...to } as const
    return withStore(call, (store) => commit(store, call, [op]))
  },
})
