/** Output: every byte, at once, in order, in bounded memory, to the end and no further. */

import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { deferred } from '../../src/base/deferred.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import type { JobKvs } from '../../src/job/keys.js'
import { collect, Harness } from './harness.js'

test('a lone line appears while the process goes on', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.shell('echo first; exec sleep 60')
  await jobs.shows(job.id, 'first\n')
  expect((await jobs.runner.show(job.id)).state).toBe('running')
  await jobs.runner.signal(job.id, 'SIGKILL')
  await jobs.runner.wait(job.id)
})

test('the last line arrives without its newline', async () => {
  await using jobs = await Harness.open()
  const { id } = await jobs.runShell('printf "one\\ntwo"; printf "err" >&2')
  expect(await jobs.text(id)).toBe('one\ntwo')
  expect(await jobs.text(id, 'stderr')).toBe('err')
})

test('a script may open /dev/stdout, /dev/stderr and /dev/stdin', async () => {
  await using jobs = await Harness.open()
  const script = 'cat /dev/stdin > /dev/stdout; echo err > /dev/stderr'
  const job = await jobs.shell(script, { stdin: true })
  await jobs.runner.stdin(
    job.id,
    (async function* () {
      yield Buffer.from('in')
    })(),
  )
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect(await jobs.text(job.id)).toBe('in')
  expect(await jobs.text(job.id, 'stderr')).toBe('err\n')
})

test('binary output is kept byte for byte, and found by offset', async () => {
  await using jobs = await Harness.open()
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-test-'))
  try {
    const bytes = randomBytes(3_000_001)
    await writeFile(join(directory, 'bytes'), bytes)
    const script = 'echo before >&2; cat bytes; echo after >&2'
    const { id } = await jobs.runShell(script, { cwd: directory })
    expect(Buffer.compare(await jobs.bytes(id), bytes)).toBe(0)
    expect(await jobs.text(id, 'stderr')).toBe('before\nafter\n')
    for (const from of [1, 65_536, blobSizeMax, 1_500_000, 3_000_000, 3_000_001, 4_000_000]) {
      const loads = jobs.store.loads
      const got = Buffer.concat(await collect(readStream(jobs.kvs, id, 'stdout', { from })))
      expect(Buffer.compare(got, bytes.subarray(from))).toBe(0)
      expect(jobs.store.loads).toBe(loads)
    }
    const tail = await collect(readStream(jobs.kvs, id, 'stderr', { from: 7, follow: true }))
    expect(Buffer.concat(tail).toString()).toBe('after\n')
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('each stream is in order, and its offsets are dense', async () => {
  await using jobs = await Harness.open()
  const script = 'i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done'
  const { id } = await jobs.runShell(script)
  const numbers = Array.from({ length: 300 }, (_, index) => index)
  expect(await jobs.text(id)).toBe(numbers.map((n) => `o${n}\n`).join(''))
  expect(await jobs.text(id, 'stderr')).toBe(numbers.map((n) => `e${n}\n`).join(''))
  const at = { stdout: 0, stderr: 0 }
  const ends: string[] = []
  for (const event of await jobs.output(id)) {
    if (event.type === 'header') continue
    expect(event.offsets).toEqual(at)
    if (event.type === 'data') at[event.stream] += event.data.length
    else ends.push(event.stream)
  }
  expect(ends).toEqual(['stdout', 'stderr'])
})

/** A store that takes some turns for each append. */
function slow(kvs: JobKvs): JobKvs {
  const commit: JobKvs['commit'] = async (transaction, scope) => {
    for (let turns = 0; turns < 20; turns++) await turn()
    return kvs.commit(transaction, scope)
  }
  return { ...kvs, commit }
}

test('a flood is kept whole in bounded memory', async () => {
  const heldMax = 1024 * 1024
  await using jobs = await Harness.open({ heldMax }, slow)
  const size = 50_000_000
  const line = 'a line of some length that is not a power of two\n'
  const job = await jobs.submit(['sh', '-c', `yes '${line.trim()}' | head -c ${size}`])
  const live = jobs.runner.live(job.id)
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect(live?.output.heldPeak).toBeLessThanOrEqual(heldMax)
  expect(live?.output.heldPeak).toBeGreaterThan(heldMax / 2)
  const hash = createHash('sha256')
  for await (const chunk of readStream(jobs.kvs, job.id, 'stdout')) hash.update(chunk)
  const want = Buffer.from(line.repeat(Math.ceil(size / line.length))).subarray(0, size)
  expect(hash.digest('hex')).toBe(createHash('sha256').update(want).digest('hex'))
})

test('while an append is on its way, what comes is gathered into a full blob', async () => {
  const appended: number[] = []
  const second = deferred<void>()
  const gated = (kvs: JobKvs): JobKvs => ({
    ...kvs,
    commit: async (transaction, scope) => {
      const [op] = transaction.ops
      if (op?.op === 'append' && op.key.endsWith('/output')) {
        appended.push(op.value.length)
        // The first is not answered before the second has come: only a full blob may come meanwhile.
        if (appended.length === 1) await second.promise
        else second.resolve()
      }
      return kvs.commit(transaction, scope)
    },
  })
  await using jobs = await Harness.open({}, gated)
  const { id } = await jobs.runShell('head -c 600000 /dev/zero')
  expect((await jobs.bytes(id)).length).toBe(600_000)
  expect(appended[0]).toBeLessThanOrEqual(66_000)
  expect(appended[1]).toBeGreaterThan(blobSizeMax - 100)
})

test('full blobs that came while two appends were on their way are appended together', async () => {
  const counts: number[] = []
  let isFull = () => false
  const gated = (kvs: JobKvs): JobKvs => ({
    ...kvs,
    commit: async (transaction, scope) => {
      const isOutput = ({ op, key }: Op) => op === 'append' && key.endsWith('/output')
      // The transactions of the submission and of the finish have other ops, too.
      if (!transaction.ops.every(isOutput)) return kvs.commit(transaction, scope)
      counts.push(transaction.ops.length)
      // Both are answered only when no more is read.
      if (counts.length <= 2) while (!isFull()) await turn()
      return kvs.commit(transaction, scope)
    },
  })
  await using jobs = await Harness.open({}, gated)
  const job = await jobs.submit(['sh', '-c', 'head -c 3000000 /dev/zero'])
  const live = jobs.runner.live(job.id)
  isFull = () => (live?.output.held ?? 0) > 2_000_000
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect((await jobs.bytes(job.id)).length).toBe(3_000_000)
  expect(Math.max(...counts.slice(2))).toBeGreaterThan(1)
})

test('a pipe that a grandchild holds is given up after a bound, and the log says so', async () => {
  await using jobs = await Harness.open({ heldMs: 50 })
  const { id, status } = await jobs.runShell('sleep 60 & echo $!')
  expect(status).toBe(0)
  const holder = Number(await jobs.text(id))
  expect((await jobs.output(id)).filter((event) => event.type === 'eof')).toMatchObject([
    { stream: 'stdout', reason: 'held' },
    { stream: 'stderr', reason: 'held' },
  ])
  expect(process.kill(holder, 'SIGKILL')).toBe(true)
})

test('only the stream that is held says so', async () => {
  await using jobs = await Harness.open({ heldMs: 50 })
  const { id } = await jobs.runShell('sleep 60 2>/dev/null & echo $!')
  const eofs = (await jobs.output(id)).filter((event) => event.type === 'eof')
  expect(eofs.map((eof) => eof.reason)).toEqual(['held', undefined])
  process.kill(Number(await jobs.text(id)), 'SIGKILL')
})

test('merged, the streams are one, in the order of the program', async () => {
  await using jobs = await Harness.open()
  const view = await jobs.runShell('for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done', {
    merge: true,
  })
  expect(await jobs.text(view.id)).toBe('o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n')
  expect(await jobs.text(view.id, 'stderr')).toBe('')
  const ends = (await jobs.output(view.id)).filter((event) => event.type === 'eof')
  expect(ends).toMatchObject([{ stream: 'stdout' }, { stream: 'stderr', reason: 'merged' }])
  expect(ends[0]).not.toHaveProperty('reason')
  const fed = await jobs.submit(['sh', '-c', 'cat; echo end >&2'], { merge: true, stdin: true })
  await jobs.runner.stdin(fed.id, chunksOf('fed\n'))
  await jobs.runner.wait(fed.id)
  expect(await jobs.text(fed.id)).toBe('fed\nend\n')
})

async function* chunksOf(text: string) {
  yield Buffer.from(text)
}
