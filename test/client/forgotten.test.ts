/** What becomes of calls when their store is closed, and of a program that closes none. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import type { Kvs } from '../../src/api/kvs.js'
import { connect } from '../../src/client/node.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import { serve } from './serving.js'

const programs = bundledPrograms({ child: 'test/client/forgetting.ts' })

const job = { command: ['true'], cwd: '/', env: {} }

/** Calls that wait for what does not come. */
function waits(kvs: Kvs): Promise<unknown>[] {
  const watch = async (key: string, mode: 'append' | 'value') => {
    for await (const _ of kvs.watch(key, { mode, waitCreate: true }));
  }
  return [
    kvs.get('k', { minSeq: 1_000 }),
    kvs.root({ waitSeq: 1_000 }),
    watch('k', 'append'),
    watch('k', 'value'),
    watch('no', 'append'),
    watch('no', 'value'),
  ]
}

it.each(['embedded', 'over a server'])(
  '%s: pending calls end with ECLOSED, later ones too',
  async (where) => {
    await using serving = await serve()
    await using store = where === 'embedded' ? await open() : await connect(serving.target)
    await store.append('k', 'x')
    const pending = waits(store).map((call) => refusal(call))
    const first = store.watch('k', { mode: 'append' })
    await first.next()
    await store[Symbol.asyncDispose]()
    for (const error of await Promise.all(pending)) expect(error).toMatchObject({ code: 'ECLOSED' })
    const later = [
      ...waits(store),
      store.get('k'),
      store.put('k', 'v'),
      store.list(''),
      store.namespaces.list(),
      store.namespaces.create('n'),
      store.history.pins(),
      store.upkeep.collect(),
      store.upkeep.export()[Symbol.asyncIterator]().next(),
      store.blobs.store(new Uint8Array(1)),
      store.jobs.submit(job),
      store.jobs.list(),
    ]
    for (const call of later) expect(await refusal(call)).toMatchObject({ code: 'ECLOSED' })
  },
)

it('a program that forgets to dispose of its client ends all the same', async () => {
  await using serving = await serve({ listen: ['127.0.0.1:0'] })
  const targets = [serving.target, `http://${serving.server.listen[0]}`]
  const run = promisify(execFile)(
    process.execPath,
    [programs.child, serving.server.token, ...targets],
    { timeout: 20_000 },
  )
  expect((await run).stdout).toBe('done\n')
})
