/** `tailrace run` and `tailrace attach`: a job's output as it comes back out of the store. See
 *  rfc/11.
 *  Invariant: stdout and stderr get each byte once, apart, at the pace of their readers; the exit
 *  code is the job's. The terminal is as it was before once this process ends. */

import type { JobView } from '../api/job.js'
import { jobsNamespace as namespace } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import type { TerminalSize } from '../base/posix.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import type { OutputPlace } from '../eventlog/output-place.js'
import { eventsKey, outputKey } from '../job/keys.js'
import { exitCodeOf } from '../job/state.js'
import { argument, type CommandContext, command, flag, jobId, option, program } from './command.js'
import { exceptionLine } from './jobs.js'
import { place } from './options.js'
import { BrokenPipe } from './output.js'
import { followStore, withStore } from './session.js'
import { type PassedSignal, PassedSignals } from './signals.js'
import { stdinChunks } from './stdin.js'
import { submission, submissionOf, terminalSize } from './submission.js'
import { integer, timeBefore } from './units.js'

/** Signals of Ctrl-C in a row: the first asks the job to end, the second kills it, a third ends
 *  this process alone. */
const interrupts = ['SIGINT', 'SIGKILL'] as const

export const run = command({
  name: 'run',
  summary: 'run a command as a job and show its output out of the store',
  description:
    'Run a command as a job: in this directory, with this environment. Its output goes into the ' +
    "store and is shown from there. The exit code is the job's. Ctrl-C goes to the job, a second " +
    'one kills it; when the reader of the output goes away, the job is ended. Stdin is read only ' +
    'with -i; without it the job finds an empty one.',
  parameters: { command: argument('<command...>', program) },
  passThrough: true,
  options: {
    stdin: flag('-i, --stdin', 'give the job our stdin'),
    noStdin: flag('--no-stdin', 'give the job an empty stdin (the default)'),
    verbose: flag('-v, --verbose', "print the job's id first, to stderr"),
    ...submission,
    ...place,
  },
  examples: [
    'tailrace run -- make -j2',
    'tailrace run sh -c "echo out; echo err >&2; exit 3"',
    'tailrace run -i -- sort < names',
    'tailrace run --pty -- vi notes',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options, stderr } = call
    // Stdin is read only when asked: inside `while read` it belongs to the loop. It is opened
    // first: a job whose stdin cannot be read does not run.
    const typed = options.pty && process.stdin.isTTY
    const input = options.stdin || typed ? stdinChunks() : undefined
    return withStore(call, async (store, limit) => {
      const asked = submissionOf(args.command, call)
      using signals = new PassedSignals()
      const { id } = await store.jobs.submit(input ? { ...asked, stdin: true } : asked)
      if (options.verbose) await stderr.line(`tailrace: job ${id}`)
      limit.atEnd(() => signalJob(store, id, 'SIGTERM'))
      signals.passTo(passedTo(store, id, call))
      const terminal = typed ? takeTerminal((size) => void resizeJob(store, id, size)) : undefined
      if (input) void forwardStdin(store, id, input, call) // It may outlive the job.
      try {
        return await call.stdout.whileRead(show(store, id, call))
      } catch (error) {
        // A pipe, too, ends a writer whose reader has gone.
        if (error instanceof BrokenPipe) await signalJob(store, id, 'SIGTERM')
        throw error
      } finally {
        terminal?.end()
      }
    })
  },
})

export const attach = command({
  name: 'attach',
  summary: "show a job's output, running or finished, from its first byte or nearer its end",
  parameters: { id: argument('<id>', jobId) },
  options: {
    tail: option('--tail <n>', 'begin with the last so many lines', integer(), {
      excludes: ['since', 'events'],
    }),
    since: option(
      '--since <time>',
      'begin with what came since: 10m, 2h, or a date and time',
      timeBefore,
      { excludes: ['events'] },
    ),
    events: flag('--events', "print the job's events instead"),
    ...place,
  },
  examples: [
    'tailrace attach ID',
    'tailrace attach --tail 10 ID',
    'tailrace attach --since 10m ID',
    'tailrace attach ID --events',
  ],
  run: async (call) => {
    const { args, options, stdout } = call
    return followStore(call, async (store) => {
      const { id } = await store.jobs.show(args.id) // ENOENT before a watch waits
      if (!options.events) return show(store, id, call, options)
      const { followEvents, toJsonLine } = await import('../eventlog/eventlog.js')
      for await (const event of followEvents(store, eventsKey(id), { namespace })) {
        await stdout.line(toJsonLine(event))
      }
      return 0
    })
  },
})

/** The beginning of the output: a number of lines from the end, or a time in ms since 1970. */
type Start = { readonly tail?: number | undefined; readonly since?: number | undefined }

async function placeOf(
  store: Store,
  id: string,
  { tail, since }: Start,
): Promise<OutputPlace | undefined> {
  if (tail === undefined && since === undefined) return undefined
  const { placeOfLines, placeSince } = await import('../eventlog/output-place.js')
  const log = { kvs: store, key: outputKey(id), scope: { namespace } }
  return since === undefined ? placeOfLines(log, tail ?? 0) : placeSince(log, since)
}

/** Prints the output from its first byte or from `start` on, then says how the job ended. Returns
 *  its exit code. */
async function show(
  store: Store,
  id: string,
  { stdout, stderr }: CommandContext,
  start: Start = {},
): Promise<number> {
  const { decodeOutput } = await import('../eventlog/stdio.js')
  const { eventsFrom } = await import('../eventlog/output-place.js')
  const place = await placeOf(store, id, start)
  const stop = new AbortController()
  const ended = untilEnded(store, id, stop)
  const output = store.watch(outputKey(id), {
    mode: 'append',
    namespace,
    waitCreate: true,
    lend: true,
    signal: stop.signal,
    ...(place && { from: place.index }),
  })
  try {
    for await (const event of output) {
      if (event.type !== 'append') continue
      const parts = decodeOutput(event.data)
      for (const part of place ? eventsFrom(place, event.index, parts) : parts) {
        if (part.type !== 'data') continue
        await (part.stream === 'stdout' ? stdout : stderr).writeLent(part.data)
      }
    }
  } catch (error) {
    // The watch was ended since the output was removed, or never came.
    if (!(stop.signal.aborted && isCode(error, 'ECANCELED'))) {
      stop.abort()
      throw error
    }
  }
  const view = await ended
  if (stop.signal.aborted) {
    throw new TailraceError('ENOENT', `the output of the job ${id} was removed`)
  }
  if (view.exception) await stderr.line(exceptionLine(view))
  return exitCodeOf(view)
}

/** Waits for the end of the job. Ends the watch of its output where there is none. */
async function untilEnded(store: Store, id: string, stop: AbortController): Promise<JobView> {
  const view = await store.jobs.wait(id)
  const output = await store.stat(outputKey(id), { namespace })
  if (!output) stop.abort()
  return view
}

/** Returns what passes a signal on to the job. */
function passedTo(store: Store, id: string, { stderr }: CommandContext) {
  let count = 0
  return (signal: PassedSignal) => {
    if (signal !== 'SIGINT') return void signalJob(store, id, signal)
    const name = interrupts[count++]
    if (!name) process.exit(130)
    void signalJob(store, id, name)
    if (count === 1 && stderr.isTerminal) {
      void stderr.line(`tailrace: SIGINT sent to job ${id}; again to kill it`)
    }
  }
}

async function signalJob(store: Store, id: string, name: string): Promise<void> {
  try {
    await store.jobs.signal(id, name)
  } catch {
    // The job has ended meanwhile; or the server has gone, which the watch of the output reports.
  }
}

async function resizeJob(store: Store, id: string, size: TerminalSize): Promise<void> {
  try {
    await store.jobs.resize(id, size)
  } catch {
    // The job has ended meanwhile, or the server has gone.
  }
}

async function forwardStdin(
  store: Store,
  id: string,
  input: AsyncIterable<Uint8Array>,
  { stderr }: CommandContext,
): Promise<void> {
  try {
    await store.jobs.stdin(id, input)
  } catch (error) {
    if (isCode(error, 'ECONFLICT') || isCode(error, 'ECLOSED') || isCode(error, 'ECANCELED')) return
    const why = reasonOf(error)
    await stderr.line(`tailrace: the job's stdin was cut: ${why}`)
  }
}

/** Puts the terminal into raw mode, so that every key reaches the job, Ctrl-C and Ctrl-D too, and
 *  calls `resize` with each new size. `end` restores the terminal. REQUIRES: stdin is a
 *  terminal. */
function takeTerminal(resize: (size: TerminalSize) => void): { end(): void } {
  const changed = () => resize(terminalSize())
  const restore = () => process.stdin.setRawMode(false)
  process.stdin.setRawMode(true)
  process.stdout.on('resize', changed)
  process.on('exit', restore)
  changed() // It may have changed since the submit.
  return {
    end: () => {
      process.stdout.off('resize', changed)
      process.off('exit', restore)
      restore()
    },
  }
}
