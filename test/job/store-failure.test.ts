/** A store that fails while jobs write: nothing is lost, nothing doubled, nothing hangs. */

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TailraceError } from '../../src/error.js'
import type { JobKvs } from '../../src/job/keys.js'
import { codeOf, Harness } from './harness.js'

type Fault = 'none' | 'refused' | 'answer lost' | 'full'

/** Commits fail as `next` says, submits excepted: they are their caller's to repeat. */
function failing(next: () => Fault): (kvs: JobKvs) => JobKvs {
  return (kvs) => ({
    ...kvs,
    commit: async (transaction, scope) => {
      const isSubmit = transaction.ops.some((op) => op.op === 'put' && op.key.endsWith('/spec'))
      const fault = isSubmit ? 'none' : next()
      if (fault === 'full') throw new TailraceError('ENOSPC', 'no space left: make some')
      if (fault === 'refused') throw new TailraceError('EBUSY', 'too much waits: try again')
      const committed = await kvs.commit(transaction, scope)
      if (fault === 'answer lost') throw new TailraceError('EUNKNOWN', 'the answer was lost')
      return committed
    },
  })
}

test('whatever commits fail for a while, the output is whole and every event there once', async () => {
  const fault = fc.constantFrom<Fault>('none', 'none', 'refused', 'answer lost', 'full')
  const want = createHash('sha256').update(Buffer.alloc(1_500_000)).digest('hex')
  await fc.assert(
    fc.asyncProperty(fc.array(fault, { maxLength: 6 }), async (faults) => {
      let turn = 0
      await using jobs = await Harness.open(
        {},
        failing(() => faults[turn++] ?? 'none'),
      )
      const view = await jobs.runShell('head -c 1500000 /dev/zero; echo end >&2; exit 4')
      expect(view).toMatchObject({ state: 'finished', status: 4 })
      const got = createHash('sha256').update(await jobs.bytes(view.id))
      expect(got.digest('hex')).toBe(want)
      expect(await jobs.text(view.id, 'stderr')).toBe('end\n')
      expect(await jobs.names(view.id)).toEqual(['submit', 'start', 'finish'])
      expect(await jobs.isClosed(view.id)).toBe(true)
    }),
    { numRuns: 25 },
  )
})

test('a store without space for too long ends the job, and the next open says it was lost', async () => {
  let full = false
  const wrap = failing(() => (full ? 'full' : 'none'))
  const bounds = { storeRetryMs: 50 }
  await using jobs = await Harness.open(bounds, wrap)
  const job = await jobs.shell('echo kept; read line; echo more; exec sleep 60', { stdin: true })
  await jobs.shows(job.id, 'kept\n')
  full = true
  await jobs.runner.stdin(
    job.id,
    (async function* () {
      yield Buffer.from('go\n')
    })(),
  )
  const view = await jobs.runner.wait(job.id)
  expect(view).toMatchObject({ state: 'finished', signal: 'SIGKILL', exception: { type: 'store' } })
  expect(view.exception?.message).toMatch(/^ENOSPC: /)
  expect(await jobs.isClosed(job.id)).toBe(false)
  expect(await jobs.runner.show(job.id)).toEqual(view)
  expect((await jobs.runner.list()).jobs).toEqual([view])
  full = false
  const next = await jobs.reopen()
  expect(await next.show(job.id)).toMatchObject({ state: 'lost', exception: { type: 'lost' } })
  expect(await jobs.text(job.id)).toBe('kept\n')
  expect(await jobs.isClosed(job.id)).toBe(true)
  await next[Symbol.asyncDispose]()
})

test('space that comes back in time is as if it had never been away', async () => {
  let full = 0
  const wrap = failing(() => (full-- > 0 ? 'full' : 'none'))
  await using jobs = await Harness.open({}, wrap)
  const job = await jobs.shell('echo a; read line; echo b', { stdin: true })
  await jobs.shows(job.id, 'a\n')
  full = 4
  await jobs.runner.stdin(job.id, (async function* () {})())
  expect((await jobs.runner.wait(job.id)).exception).toBeUndefined()
  expect(await jobs.text(job.id)).toBe('a\nb\n')
})

test('a submit that fails is its error, and leaves no job', async () => {
  const wrap = (kvs: JobKvs): JobKvs => ({
    ...kvs,
    commit: () => Promise.reject(new TailraceError('ENOSPC', 'no space left: make some')),
  })
  await using jobs = await Harness.open({}, wrap)
  expect(await codeOf(jobs.submit(['true']))).toBe('ENOSPC')
  expect(await jobs.runner.list()).toEqual({ jobs: [], more: false, total: 0, size: 0 })
  expect([jobs.runner.running, jobs.runner.waiting]).toEqual([0, 0])
})
