/** The durable engine among processes: what a kill -9 leaves, and who may hold a directory. */

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import { isDefunct, processStart } from '../../src/base/processes.js'
import { openLocal } from '../../src/engine/local-open.js'
import { isAlive, thisProcess } from '../../src/engine/owner.js'
import { bundledPrograms } from '../support/programs.js'
import { blobOf, blobsAt, codeOf, collect, make, temporaryDirectory } from './fixture.js'

const names = ['a', 'b', 'c', 'd']
const flushCount = 50
const programs = bundledPrograms({
  committer: 'test/engine/committer.ts',
  holder: 'test/engine/holder.ts',
})

const open = (path: string) =>
  openLocal(path, { environment: systemEnvironment, bounds: { flushCount: flushCount } })

/** A helper of this folder as a process of its own. */
function run(helper: keyof typeof programs, ...args: string[]): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [programs[helper], ...args])
  child.stderr.pipe(process.stderr)
  return child
}

/** Its first line. */
async function answer(child: ChildProcessWithoutNullStreams): Promise<string> {
  for await (const line of createInterface(child.stdout)) return line
  return 'nothing'
}

async function kill(child: ChildProcessWithoutNullStreams): Promise<void> {
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

/** Kills a committer after `count` acknowledged roots, and gives the last of each namespace. */
async function commitUntilKilled(path: string, count: number): Promise<Map<string, number>> {
  const child = run('committer', path, `${flushCount}`)
  const acknowledged = new Map<string, number>()
  let lines = 0
  for await (const line of createInterface(child.stdout)) {
    const [name = '', seq] = line.split(' ')
    acknowledged.set(name, Number(seq))
    if (++lines === count) child.kill('SIGKILL') // goes on reading what was printed before
  }
  return acknowledged
}

test('kill -9 loses nothing that was acknowledged, and the index comes back from the tail', async () => {
  await using directory = await temporaryDirectory()
  for (const count of [40, 123, 7, 200]) {
    const acknowledged = await commitUntilKilled(directory.path, count)
    await using engine = await open(directory.path)
    for (const name of names) {
      const roots = await collect(engine.history(name, -1))
      expect(roots.map(({ seq }) => seq)).toEqual(roots.map((_, index) => index))
      const last = roots.length - 1
      expect(last).toBeGreaterThanOrEqual(acknowledged.get(name) ?? 0)
      expect(last).toBeLessThanOrEqual((acknowledged.get(name) ?? last) + 1)
      // A root that is there has its blobs, acknowledged or not.
      const refs = roots.slice(1).flatMap(({ seq }) => blobsAt(name, seq).map(({ ref }) => ref))
      const blobs = await engine.load(refs)
      expect(blobs.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
    }
  }
})

test('the part of the index that a kill -9 leaves in memory is bounded', async () => {
  await using directory = await temporaryDirectory()
  await commitUntilKilled(directory.path, 300)
  await using engine = await open(directory.path)
  expect(engine.waiting).toBeGreaterThan(0)
  expect(engine.waiting).toBeLessThan(2 * flushCount + 12) // of 600 and more
})

test('a second process is EBUSY with the path and the pid of the first', async () => {
  await using directory = await temporaryDirectory()
  const holder = run('holder', directory.path)
  expect(await answer(holder)).toBe('open')
  const opening = open(directory.path)
  await expect(opening).rejects.toThrow(`${directory.path} is in use by process ${holder.pid}:`)
  expect(await codeOf(open(directory.path))).toBe('EBUSY')
  await kill(holder)
  await using engine = await open(directory.path) // at once after kill -9
  await make(engine, 'n')
})

test('a process of another pid namespace is kept out, and told who holds the directory', async (context) => {
  const separate = ['-p', '-f', '--mount-proc']
  if (spawnSync('unshare', [...separate, 'true']).status !== 0) {
    context.skip('this system lets nobody make a pid namespace')
  }
  await using directory = await temporaryDirectory()
  const inside = spawn('unshare', [
    ...separate,
    ...[process.execPath, programs.holder, directory.path],
  ])
  expect(await answer(inside)).toBe('open')
  await expect(open(directory.path)).rejects.toThrow(
    expect.objectContaining({
      code: 'EBUSY',
      message: expect.stringContaining('which cannot be seen from here'),
    }),
  )
  inside.stdin.end()
  expect(await once(inside, 'close')).toEqual([0, null])
  await using _ = await open(directory.path)
})

test('a process that closes gives the directory up', async () => {
  await using directory = await temporaryDirectory()
  const holder = run('holder', directory.path)
  expect(await answer(holder)).toBe('open')
  holder.stdin.end()
  expect(await once(holder, 'close')).toEqual([0, null])
  await using _ = await open(directory.path)
})

test('of two processes that start at once exactly one holds the directory', async () => {
  await using directory = await temporaryDirectory()
  const holders = [run('holder', directory.path), run('holder', directory.path)]
  const answers = await Promise.all(holders.map(answer))
  const winner = holders[answers.indexOf('open')]
  const loser = answers.find((line) => line !== 'open')
  expect(loser).toContain(`EBUSY ${directory.path} is in use by process ${winner?.pid}:`)
  await Promise.all(holders.map((holder) => (holder === winner ? kill(holder) : undefined)))
  await using _ = await open(directory.path)
})

test('an owner is alive by pid, start time and boot together', () => {
  const self = thisProcess()
  expect(isAlive(self)).toBe(true)
  expect(isAlive({ ...self, start: `${self.start}1` })).toBe(false)
  expect(isAlive({ ...self, start: `other-boot.${self.start.split('.').at(-1)}` })).toBe(false)
  // Where the system does not tell start times, the pid alone decides.
  expect(isAlive({ ...self, start: '' })).toBe(true)
  expect(isAlive({ ...self, pid: 2 ** 22 + 1, start: '' })).toBe(false)
})

test('a process that has ended and was not reaped holds nothing', async () => {
  // The shell becomes a `cat`, which never asks for the child that it inherits.
  const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec cat'])
  try {
    const pid = Number(await answer(parent))
    while (!isDefunct(pid)) await setImmediate()
    const start = processStart(pid) ?? ''
    expect(start).not.toBe('')
    expect(isAlive({ pid, start })).toBe(false)
  } finally {
    await kill(parent)
  }
})
