/** Targets for workers. A function that says what it did appends a line to a file, since it may run in another
 *  process; one that waits does so until a file is there. */

import { once } from 'node:events'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { threadId } from 'node:worker_threads'
import { TailraceError } from '../../src/error.js'
import { command, map, packed, target, targetOutput, targetSignal } from '../../src/flow/flow.js'

const directory = process.env['TAILRACE_TEST_WORKERS'] ?? ''
const isThere = (name: string) => existsSync(`${directory}/${name}`)
const say = (name: string) => appendFileSync(`${directory}/said`, `${name}\n`)

/** Blocks this thread until a file is there. */
function blockUntil(name: string): void {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  while (!isThere(name)) Atomics.wait(nothing, 0, 0, 2)
}

export const numbers = target('numbers', [5], (length: number) => {
  say('numbers')
  return Array.from({ length }, (_, at) => at)
})
export const squares = map('squares', [numbers, 1], (value, offset) => {
  say(`square ${value}`)
  return value * value + offset
})
export const sum = target('sum', [squares], (values) => {
  say('sum')
  return values.reduce((all, each) => all + each, 0)
})
/** Gets packed results, of branches and of one target, and objects of inputs. */
export const mixed = target(
  'mixed',
  [packed(squares), { numbers, more: [sum, 'text', new Uint8Array([1, 2])] }, packed(numbers)],
  async (all, { numbers: some, more }, again) => [
    await all.use((values) => values.length),
    ...some,
    ...more,
    await again.use((values) => values.length),
  ],
)

/** The objects that slices of this worker were given. */
const seen = new Set<unknown>()
export const data = target('data', [], () => ({
  rows: Array.from({ length: 5_000 }, (_, at) => at),
}))
export const slices = Array.from({ length: 40 }, (_, at) =>
  target(`slice${at}`, [data], (all) => {
    seen.add(all)
    return [`${process.pid}/${threadId}`, seen.size, all.rows[at]] as const
  }),
)
export const sizes = target('sizes', [data], (all) => all.rows.length)

/** Get plain inputs that are larger together than one transaction of a store. */
export const plain = Array.from({ length: 12 }, (_, at) =>
  target(`plain${at}`, [new Uint8Array(1_500_000).fill(at)], (bytes) => [
    bytes.length,
    bytes.at(-1),
  ]),
)

/** Prints to its output, and to the streams of its process. */
export const printsAll = target('printsAll', [], () => {
  console.log('logged')
  targetOutput().write('given\n', 'stderr')
  process.stderr.write('told\n')
})

export const fails = target('fails', [], () => {
  throw Object.assign(new RangeError('on purpose', { cause: new TypeError('deep') }), {
    code: 'EOWN',
  })
})
export const refused = target('refused', [], () => {
  throw new TailraceError('EEXIST', 'on purpose')
})
export const primitive = target('primitive', [], () => Promise.reject('text'))

export const deadly = target('deadly', [], () => {
  say('deadly')
  process.kill(process.pid, 'SIGKILL')
})
export const quick = Array.from({ length: 6 }, (_, at) => target(`quick${at}`, [], () => at))
/** Kills its worker once. */
export const deadlyOnce = target('deadlyOnce', [], () => {
  say('deadlyOnce')
  const count = readFileSync(`${directory}/said`, 'utf8').split('deadlyOnce\n').length - 1
  if (count === 1) process.kill(process.pid, 'SIGKILL')
  return count
})

/** Blocks its worker until a file `go` is there. */
export const blocked = target('blocked', [], () => {
  say('blocked')
  blockUntil('go')
  return process.pid
})
export const waitsForAbort = target('waitsForAbort', [], () => {
  const signal = targetSignal()
  say('waits')
  return untilAborted(signal)
})
/** Ends with the signal of its call. */
async function untilAborted(signal: AbortSignal): Promise<void> {
  await once(signal, 'abort')
  say(`aborted ${(signal.reason as TailraceError).code}`)
}
export const ignoresAbort = target('ignoresAbort', [], () => {
  say('ignores')
  blockUntil('never')
})
export const prints = target('prints', [], () => {
  for (let at = 0; at < 500; at++) console.log(`line ${at}`)
  process.stderr.write('last line\n')
})
/** Says its process id, and that of a process that it starts, and sleeps. Its stdin comes once it is guarded. */
export const sleeps = command('sleeps', {
  run: ['sh', '-c', 'read -r go; sleep 1000 & echo $$ $! >> "$SAID"; wait'],
  stdin: 'go\n',
  env: { SAID: `${directory}/said` },
})
/** For workers with the label `big`. */
export const large = target('large', [], () => 'large', { label: 'big' })
export const pids = Array.from({ length: 3 }, (_, at) => target(`pid${at}`, [], () => process.pid))
