/** Pipes: of every shell there is, exclusive, and done without where there is none. */

import { closeSync, existsSync, readSync, writeSync } from 'node:fs'
import { expect, test } from 'vitest'
import { closePipe, floodSize, floodsMax, type Pipe, PipePool } from '../../src/job/pipes.js'
import { Harness } from './harness.js'

const shells = ['/bin/sh', '/bin/bash', '/bin/dash', '/bin/busybox'].filter(existsSync)

test.each(shells)('pipes of %s carry bytes and end with their last writer', async (shell) => {
  const pool = new PipePool(shell)
  const taken = await Promise.all(Array.from({ length: 8 }, () => pool.take(2)))
  const pipes = taken.flat()
  expect(pipes).toHaveLength(16)
  for (const [index, pipe] of pipes.entries()) {
    if (!pipe) throw new Error('no pipe')
    writeSync(pipe.write, `${index}`)
    closeSync(pipe.write)
    const buffer = Buffer.alloc(10)
    expect(buffer.toString('utf8', 0, readSync(pipe.read, buffer))).toBe(`${index}`)
    // Nobody else has it open for writing, or this would wait.
    expect(readSync(pipe.read, buffer)).toBe(0)
    closeSync(pipe.read)
  }
  const [lone] = (await pool.take(1)) ?? []
  if (!lone) throw new Error('no pipe')
  closePipe(lone)
  await pool.close()
  expect(await pool.take(1)).toBeUndefined()
})

test.each(['/nonexistent/sh', '/bin/true', '/bin/cat'])(
  'where %s is the shell, jobs run on sockets',
  async (program) => {
    const pipes = new PipePool(program)
    expect(await pipes.take(1)).toBeUndefined()
    await using jobs = await Harness.open({ pipes })
    const job = await jobs.shell('cat; echo err >&2; head -c 300000 /dev/zero', { stdin: true })
    await jobs.runner.stdin(
      job.id,
      (async function* () {
        yield Buffer.from('in')
      })(),
    )
    expect((await jobs.runner.wait(job.id)).status).toBe(0)
    const out = await jobs.bytes(job.id)
    expect(Buffer.compare(out, Buffer.concat([Buffer.from('in'), Buffer.alloc(300_000)]))).toBe(0)
    expect(await jobs.text(job.id, 'stderr')).toBe('err\n')
    expect((await jobs.run(['no-such-program'])).status).toBe(127)
  },
)

test('only so many pipes are larger at once', async () => {
  const pool = new PipePool()
  const pipes: Pipe[] = []
  for (let count = 0; count <= floodsMax; count++) pipes.push(...((await pool.take(1)) ?? []))
  const enlarged = pipes.map(({ read }) => pool.enlarge(read, floodSize))
  const isLinux = process.platform === 'linux'
  expect(enlarged.filter(Boolean)).toHaveLength(isLinux ? floodsMax : 0)
  const [last] = pipes.slice(-1)
  if (isLinux) pool.enlargedClosed()
  if (last) expect(pool.enlarge(last.read, floodSize)).toBe(isLinux)
  for (const pipe of pipes) closePipe(pipe)
  await pool.close()
})
