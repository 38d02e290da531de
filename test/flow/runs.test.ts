/** The runs of a flow as others see them: whether they go on, and the end of one. See rfc/26, rules 1 to 4. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { run, runsOf, target, targetSignal } from '../../src/flow/flow.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import * as fn from './kept-functions.js'

let store: Store

beforeEach(async () => {
  store = await open()
  fn.gate.wait = Promise.resolve()
})
afterEach(() => store.close())

const listens = target('listens', [], async () => {
  const signal = targetSignal()
  const told = deferred<void>()
  signal.addEventListener('abort', () => told.resolve())
  fn.calls['listens'] = 1
  await told.promise
})

/** A run whose only function runs. */
async function begun(options: { readonly flow?: string } = {}) {
  delete fn.calls['listens']
  const made = run(listens, { store, ...options })
  made.result.catch(() => {})
  await expect.poll(() => fn.calls['listens']).toBe(1)
  return { made, id: made.id ?? '' }
}

describe('runsOf()', () => {
  it('tells how runs go on and end', async () => {
    const runs = runsOf({ store, flow: 'x' })
    expect(await runs.newest()).toEqual([])
    const good = run(target('one', [2], fn.square), { store, flow: 'x' })
    await good.result
    const bad = run(target('bad', [], fn.fails), { store, flow: 'x', resumes: good.id ?? '' })
    await expect(bad.result).rejects.toThrow('on purpose')
    const { id } = await begun({ flow: 'x' })
    const newest = await runs.newest()
    expect(newest).toEqual([id, bad.id, good.id].sort().reverse())
    expect((await runs.newest(1)).length).toBe(1)
    expect(await runs.show(good.id ?? '')).toMatchObject({
      ...{ run: good.id, state: 'ok', at: expect.any(Number) },
    })
    expect(await runs.show(bad.id ?? '')).toMatchObject({
      ...{ state: 'failed', failed: 'on purpose', resumes: good.id },
    })
    expect((await runs.show(id)).state).toBe('running')
    const ended = runs.ended(id)
    await runs.cancel(id, { by: 'a test' })
    expect((await ended).state).toBe('canceled')
    expect(await refusal(runs.show('r00000000000000a'))).toMatchObject({ code: 'ENOENT' })
    expect(await refusal(runs.show('../x'))).toMatchObject({ code: 'EINVAL' })
  })

  it('cancel() ends a run with ECANCELED, which says who asked', async () => {
    const { made, id } = await begun()
    const runs = runsOf({ store })
    await runs.cancel(id, { by: 'a test' })
    const message = `the run ${id} was canceled by a test`
    await expect(made.result).rejects.toMatchObject({ code: 'ECANCELED', message })
    expect(await runs.show(id)).toMatchObject({ state: 'canceled', failed: message })
    const late = await refusal(runs.cancel(id, { by: 'a test' }))
    expect(late).toMatchObject({ code: 'ECONFLICT', message: expect.stringMatching(/canceled$/) })
    const long = runs.cancel(id, { by: 'x'.repeat(257) })
    expect(await refusal(long)).toMatchObject({ code: 'EINVAL' })
  })

  it('a run that lost its lease takes it anew; one that nobody holds was killed', async () => {
    const { made, id } = await begun()
    const namespace = 'flow-main'
    const key = `cancel/${id}`
    const { token: before } = await store.leases.show(key, { namespace })
    if (!before) throw new Error('the run holds its lease')
    const runs = runsOf({ store })
    const release = { op: 'lease', key, action: 'release', token: before } as const
    // The run learns of it with its next renewal.
    await store.commit({ ops: [release] }, { namespace })
    expect((await runs.show(id)).state).toBe('killed')
    expect((await runs.ended(id)).state).toBe('killed')
    expect(await refusal(runs.cancel(id, { by: 'a test' }))).toMatchObject({ code: 'ECONFLICT' })
    await expect.poll(() => runs.show(id), { timeout: 8_000 }).toMatchObject({ state: 'running' })
    await runs.cancel(id, { by: 'a test' })
    await expect(made.result).rejects.toMatchObject({ code: 'ECANCELED' })
    expect((await store.leases.show(key, { namespace })).held).toBe(false)
  })
})
