/** `tailrace worker`: joins a store, and calls functions of targets for runs that use workers of that store.
 *  See rfc/25, rules 20 to 28.
 *  Invariant: this process runs no code of targets. A first signal lets the worker leave within `--grace`; a
 *  second one ends it at once. */

import type { RemoteWorkerView, ServedWorker, ServedWorkerEvent } from '../api/flow.js'
import { defined } from '../base/shape.js'
import { argument, type CommandContext, command, file, many, option } from './command.js'
import { workersFor } from './flow-file.js'
import { json, place } from './options.js'
import type { Line } from './output.js'
import { withStore } from './session.js'
import { PassedSignals } from './signals.js'
import { duration, integer, timeText } from './units.js'

const ls = command({
  name: 'ls',
  summary: 'list the workers that have joined a store, and whom they work for',
  description:
    'List the workers that have joined a store: id, state (free; busy: a run has taken it; gone: it has ' +
    'died), process and machine, slots, calls that it had answered when it was free last, labels, and ' +
    'the process that has taken it.',
  options: { json, ...place },
  examples: ['tailrace worker ls', 'tailrace worker ls --json'],
  run: async (call) => {
    const { options, stdout } = call
    return withStore(call, async (store) => {
      const { workersOf } = await import('../worker/worker.js')
      const workers = await workersOf(store)
      if (options.json) return stdout.json({ workers })
      await stdout.lines(workers.map(lineOf))
    })
  },
})

export const worker = command({
  name: 'worker',
  summary: 'join a store, and call functions of targets for its runs; list those that have',
  description:
    'Join a store as a worker: "flow run --remote" of anybody who uses that store has functions of targets ' +
    'called here, in a process that imports the files, which must export the targets. Code that ' +
    'differs from that of the run is refused. The worker stays, for one run after the other, until ' +
    'SIGTERM or SIGINT, --lifetime or --calls-max: then it takes no more calls, and leaves when those ' +
    'that it has begun are answered, or after --grace, and the others run elsewhere; a second ' +
    'signal ends it at once. It waits for a server of --url that is away; one of a data directory ' +
    'that is stopped ends it. What functions print goes to stderr. The exit code is 0 if it has left.',
  parameters: { files: argument('<file...>', file) },
  options: {
    slots: option(
      '--slots <n>',
      'call so many at a time, in one process: for functions that wait (default: 1)',
      integer(1),
    ),
    label: many('--label <name>', 'a label that targets may ask for: gpu'),
    callsMax: option('--calls-max <n>', 'leave after so many calls; 1: one for each', integer(1)),
    lifetime: option('--lifetime <time>', 'leave after: 90s, 3h, 1d (default: never)', duration),
    grace: option(
      '--grace <time>',
      'the time for calls to end when it leaves, or when nobody wants them (default: 5s)',
      duration,
    ),
    json,
    ...place,
  },
  examples: [
    'tailrace worker flow.mjs',
    'tailrace worker flow.mjs --url http://head:7070 --slots 4 --label gpu',
    'tailrace worker flow.mjs --lifetime 3h --grace 10m',
    'tailrace flow run flow.mjs --remote',
    'tailrace worker ls',
  ],
  commands: [ls],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    const { room, modules } = await workersFor(args.files)
    return withStore(call, async (store, limit) => {
      using signals = new PassedSignals()
      const told = new WorkerTold(call, options.json)
      const joined = room.serveWorker(store, {
        ...{ module: modules, labels: options.label, onEvent: (event) => told.take(event) },
        ...defined({
          ...{ slots: options.slots, callsMax: options.callsMax },
          ...{ lifetimeMs: options.lifetime, graceMs: options.grace },
        }),
      })
      told.joined = joined
      limit.atEnd(async () => joined[Symbol.asyncDispose]())
      signals.interrupted.addEventListener('abort', () => joined.leave(), { once: true })
      await joined.ended
      await told.end()
      return 0
    })
  },
})

type Told = { readonly options: { readonly label: readonly string[] } } & Pick<
  CommandContext,
  'stdout' | 'stderr'
>

/** Tells people and programs what happens to a worker. Mutable; owned by its command. */
class WorkerTold {
  readonly #call: Told
  readonly #json: boolean
  #writing = Promise.resolve()
  joined: ServedWorker | undefined

  constructor(call: Told, json: boolean) {
    this.#call = call
    this.#json = json
  }

  take(event: ServedWorkerEvent): void {
    const { stdout, stderr } = this.#call
    const id = this.joined?.id
    const write = () =>
      this.#json
        ? stdout.json({ worker: id, at: Date.now(), ...event })
        : stderr.line(this.#lineOf(event))
    this.#writing = this.#writing.then(write).catch(() => {}) // nobody reads it any more
  }

  /** Resolves once all is written. */
  end(): Promise<void> {
    return this.#writing
  }

  #lineOf(event: ServedWorkerEvent): Line {
    const id = this.joined?.id ?? ''
    const { label } = this.#call.options
    switch (event.type) {
      case 'free':
        return `worker ${id}${label.length > 0 ? ` (${label.join(', ')})` : ''} waits for runs`
      case 'taken':
        return `worker ${id} works for ${event.by}`
      case 'idle':
        return `worker ${id} was given back, ${event.answered} calls answered so far`
      case 'leaving':
        return `worker ${id} leaves`
      case 'died':
        return [{ color: 'red', text: `worker ${id}: its process died: ${event.why}` }]
      case 'away':
        return [{ color: 'yellow', text: `worker ${id} was away, and joins again: ${event.why}` }]
      default:
        return event satisfies never
    }
  }
}

const stateColors = { free: 'dim', busy: 'green', gone: 'red' } as const

function lineOf(view: RemoteWorkerView): Line {
  const { id, state, host, pid, slots, labels, answered, since, takenBy } = view
  const more = [
    `${slots} ${slots === 1 ? 'slot' : 'slots'}`,
    `${answered} calls`,
    ...(labels.length > 0 ? [labels.join(',')] : []),
    ...(takenBy === undefined ? [] : [`for ${takenBy}`]),
  ]
  return [
    `${id}  `,
    { color: stateColors[state], text: state },
    `  ${host} pid ${pid}  since ${timeText(since, { utc: false })}  ${more.join('  ')}`,
  ]
}
