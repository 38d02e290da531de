/** Commands that meet a store of an older format: they say so, wait as long as it moves on, and answer. See
 *  rfc/13, rules 8 and 31, and rfc/4, rule 20. */

import { once } from 'node:events'
import { appendFile, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { StoreLock } from '../../src/engine/owner.js'
import { StartPatience } from '../../src/local/patience.js'
import { unpackOld } from '../support/old-store.js'
import { Sandbox } from '../support/sandbox.js'

const begins = 'tailrace: the store has an older format and is brought up to this one'

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
  await unpackOld(sandbox.data)
})
afterEach(() => sandbox.remove())

it('serve says when a migration begins and ends', async () => {
  const { child, ended } = sandbox.start(['serve'])
  const all = ended()
  child.stdout.once('data', () => child.kill('SIGTERM'))
  const { stderr } = await all
  expect(stderr).toContain(begins)
  expect(stderr).toMatch(/tailrace: the store has this format now, after \d+ ms\n/)
})

it('a server that a command started has both in its log', async () => {
  expect(await sandbox.ok(['get', 'config/mode'])).toBe('off')
  const log = await readFile(join(sandbox.data, 'server.log'), 'utf8')
  expect(log).toMatch(
    /Z info the store has an older format .+\n.+Z info the store has this format now/,
  )
})

it('fsck says it, too', async () => {
  const { stderr, code } = await sandbox.call(['fsck'])
  expect(stderr).toContain(begins)
  expect(code).toBe(0)
})

it('a command waits for the migration of another process, and says so', async () => {
  const store = join(sandbox.data, 'store')
  const lock = await StoreLock.take(store)
  const work = join(store, 'migration')
  await mkdir(work)
  await appendFile(join(work, 'data.mdb'), 'some')
  const { child, ended } = sandbox.start(['get', 'config/mode'])
  const all = ended()
  for (let said = ''; !said.includes(begins); ) {
    const [chunk] = await once(child.stderr, 'data')
    said += String(chunk)
  }
  await rm(work, { recursive: true })
  lock.release()
  expect(await all).toMatchObject({ stdout: 'off', code: 0 })
}, 30_000)

it('the patience of a start ends where nothing happens, and not while a migration grows', async () => {
  const file = join(sandbox.data, 'store', 'migration', 'journal')
  await mkdir(join(sandbox.data, 'store', 'migration'))
  const seen: number[] = []
  using patience = new StartPatience(sandbox.data, {
    ...{ ms: 1, migratingMs: 700 },
    onMigration: (done) => {
      seen.push(done)
      if (seen.length < 8) void appendFile(file, 'more')
    },
  })
  await once(patience.signal, 'abort')
  expect(patience.signal.reason).toMatchObject({ name: 'TimeoutError' })
  expect(seen.length).toBeGreaterThanOrEqual(10)
  expect(seen.at(-1)).toBe(28)
})
