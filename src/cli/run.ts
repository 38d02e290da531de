/** `tailrace run` and `tailrace attach`: a job's output as it comes back out of the store. See
 *  rfc/11.
 *  Invariant: stdout and stderr get each byte once, apart, at the pace of their readers; the exit
 *  code is the job's. */

import type { JobView } from '../api/job.js'
import type { Store } from '../api/store.js'
import type { TerminalSize } from '../base/posix.js'
import { isCode, TailraceError } from '../error.js'
import { followEvents, toNdjson } from '../eventlog/eventlog.js'
import { eventsFrom, type OutputPlace, placeOfLines, placeSince } from '../eventlog/output-place.js'
import { decodeOutput } from '../eventlog/stdio.js'
import { eventsKey, jobsNamespace as namespace, outputKey } from '../job/keys.js'
import { exitCodeOf } from '../job/state.js'
import { parseTime } from './duration.js'
import { argument, type Invocation, type Options, UsageError } from './invocation.js'
import { exceptionLine, submissionOf } from './jobs.js'
import { BrokenPipe } from './output.js'
import { followStore, withStore } from './session.js'
import { stdinChunks } from './stdin.js'
import { takeTerminal } from './terminal.js'

/** Ctrl-C ends a job in steps: as it wishes, at once, without us. */
const interrupts = ['SIGINT', 'SIGKILL'] as const

export async function run(invocation: Invocation): Promise<number> {
  const { options, stderr } = invocation
  // Only when asked: inside `while read`, stdin is the loop's. Opened first: a job whose stdin cannot be
  // read does not run.
  const typed = options.flag('pty') && process.stdin.isTTY
  const input = options.flag('stdin') || typed ? stdinChunks() : undefined
  return withStore(invocation, async (store, limit) => {
    const submission = submissionOf(invocation)
    const { id } = await store.jobs.submit(input ? { ...submission, stdin: true } : submission)
    if (options.flag('verbose')) await stderr.line(`tailrace: job ${id}`)
    limit.atEnd(() => signalJob(store, id, 'SIGTERM'))
    const signals = forwardSignals(store, id, invocation)
    const terminal = typed ? takeTerminal((size) => void resizeJob(store, id, size)) : undefined
    if (input) void forwardStdin(store, id, input, invocation) // It may outlive the job: nobody waits.
    try {
      return await invocation.stdout.whileRead(show(store, id, invocation))
    } catch (error) {
      // As a pipe would do it: a writer whose reader has gone is ended.
      if (error instanceof BrokenPipe) await signalJob(store, id, 'SIGTERM')
      throw error
    } finally {
      terminal?.end()
      signals.end()
    }
  })
}

export async function attach(invocation: Invocation): Promise<number> {
  const id = argument(invocation, 0)
  const start = startOf(invocation.options)
  return followStore(invocation, async (store) => {
    const { id: whole } = await store.jobs.show(id) // ENOENT, before a watch waits for it
    if (!invocation.options.flag('events')) return show(store, whole, invocation, start)
    for await (const event of followEvents(store, eventsKey(whole), { namespace })) {
      await invocation.stdout.line(toNdjson(event).trimEnd())
    }
    return 0
  })
}

/** From which line, counted from the end, or from which time (ms since 1970) on. */
type Start = { readonly lines: number } | { readonly since: number }

function startOf(options: Options): Start | undefined {
  const lines = options.integer('tail')
  const text = options.text('since')
  if (
    [lines, text, options.flag('events') || undefined].filter((each) => each !== undefined).length >
    1
  ) {
    throw new UsageError('--tail, --since and --events exclude one another')
  }
  if (lines !== undefined) return { lines }
  return text === undefined ? undefined : { since: parseTime('--since', text) }
}

function placeOf(
  store: Store,
  id: string,
  start: Start | undefined,
): Promise<OutputPlace> | undefined {
  if (!start) return undefined
  const log = { kvs: store, key: outputKey(id), scope: { namespace } }
  return 'lines' in start ? placeOfLines(log, start.lines) : placeSince(log, start.since)
}

/** Prints the output from its first byte, or where it is to start, then says how the job ended. */
async function show(
  store: Store,
  id: string,
  invocation: Invocation,
  start?: Start,
): Promise<number> {
  const { stdout, stderr } = invocation
  const place = await placeOf(store, id, start)
  const stop = new AbortController()
  const ended = untilEnded(store, id, stop)
  const output = store.watch(outputKey(id), {
    mode: 'append',
    namespace,
    waitCreate: true,
    signal: stop.signal,
    ...(place && { from: place.index }),
  })
  try {
    for await (const event of output) {
      if (event.type !== 'append') continue
      const parts = decodeOutput(event.data)
      for (const part of place ? eventsFrom(place, event.index, parts) : parts) {
        if (part.type !== 'data') continue
        await (part.stream === 'stdout' ? stdout : stderr).write(part.data)
      }
    }
  } catch (error) {
    // The output was removed: there is nothing to wait for.
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

/** Waits for the job; one that ended without any output ends the watch for it. */
async function untilEnded(store: Store, id: string, stop: AbortController): Promise<JobView> {
  const view = await store.jobs.wait(id)
  const output = await store.stat(outputKey(id), { namespace })
  if (!output) stop.abort()
  return view
}

function forwardSignals(store: Store, id: string, invocation: Invocation): { end(): void } {
  let count = 0
  const interrupt = () => {
    const name = interrupts[count++]
    if (!name) process.exit(130)
    void signalJob(store, id, name)
    if (count === 1 && invocation.stderr.isTerminal) {
      void invocation.stderr.line(`tailrace: SIGINT sent to job ${id}; again to kill it`)
    }
  }
  const terminate = () => void signalJob(store, id, 'SIGTERM')
  const hangUp = () => void signalJob(store, id, 'SIGHUP')
  process.removeAllListeners('SIGINT') // main's, which ends us at once
  process.on('SIGINT', interrupt).on('SIGTERM', terminate).on('SIGHUP', hangUp)
  return {
    end: () => {
      process.off('SIGINT', interrupt).off('SIGTERM', terminate).off('SIGHUP', hangUp)
    },
  }
}

async function signalJob(store: Store, id: string, name: string): Promise<void> {
  try {
    await store.jobs.signal(id, name)
  } catch {
    // It has ended meanwhile; or the server has gone, which the watch of the output says.
  }
}

async function resizeJob(store: Store, id: string, size: TerminalSize): Promise<void> {
  try {
    await store.jobs.resize(id, size)
  } catch {
    // As with a signal: the job has ended, or the server has gone.
  }
}

async function forwardStdin(
  store: Store,
  id: string,
  input: AsyncIterable<Uint8Array>,
  invocation: Invocation,
): Promise<void> {
  try {
    await store.jobs.stdin(id, input)
  } catch (error) {
    if (isCode(error, 'ECONFLICT') || isCode(error, 'ECLOSED') || isCode(error, 'ECANCELED')) return
    const why = error instanceof Error ? error.message : String(error)
    await invocation.stderr.line(`tailrace: the job's stdin was cut: ${why}`)
  }
}
