/** `connect` without a target: the server of the data directory is found or started, and shared. See rfc/13, rule 29. */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { connect } from '../../src/client/node.js'
import { readServerRecord } from '../../src/local/directory.js'
import { isAlive } from '../../src/local/local.js'
import { serve } from '../client/serving.js'
import { refusal } from '../kvs/expect.js'
import { installPackage } from '../support/package.js'

const run = promisify(execFile)

let directory: string
let data: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-connect-'))
  data = join(directory, 'data')
  vi.stubEnv('TAILRACE_DATA', data)
  vi.stubEnv('TAILRACE_URL', undefined)
  vi.stubEnv('TAILRACE_TOKEN', undefined)
})
afterEach(async () => {
  if (existsSync(data)) await end('SIGTERM')
  vi.unstubAllEnvs()
  await rm(directory, { recursive: true, force: true })
})

async function recordNow() {
  const record = await readServerRecord(data)
  if (!record) throw new Error('no server.json')
  return record
}

/** Ends the server that runs, if one does, and waits until it has gone. */
async function end(signal: NodeJS.Signals): Promise<void> {
  const record = await readServerRecord(data)
  if (!record || !isAlive(record)) return
  process.kill(record.pid, signal)
  await vi.waitUntil(() => !isAlive(record), { timeout: 10_000 })
}

const program = (entry: string) => `
import { connect } from '${entry}'
const store = await connect()
await store.append('said', process.argv[2] + ' ')
console.log(store.storeId)
await store.close()
`

test('two programs of the installed package that connect at once share one server, which goes on after them', async () => {
  const project = join(directory, 'project')
  await installPackage(project)
  await writeFile(join(project, 'one.mjs'), program('tailrace'))
  await writeFile(join(project, 'two.mjs'), program('tailrace/client'))
  const ended = await Promise.all(
    ['one', 'two'].map((name) => run(process.execPath, [`${name}.mjs`, name], { cwd: project })),
  )
  const [one, two] = ended.map(({ stdout }) => stdout.trim())
  expect(one).toBe(two)
  const record = await recordNow()
  expect(record.storeId).toBe(one)
  expect(isAlive(record)).toBe(true)
  expect(await readFile(`/proc/${record.pid}/cmdline`, 'utf8')).toContain('--background')

  await using store = await connect()
  const said = String(Buffer.from((await store.get('said')) ?? []))
  expect(said.trim().split(' ').sort()).toEqual(['one', 'two'])
  expect((await recordNow()).pid).toBe(record.pid)
})

test('a server that was killed is started again by the next connect, with all that was answered', async () => {
  const first = await connect()
  await first.put('key', 'value')
  const { pid } = await recordNow()
  await end('SIGKILL')
  await first.close()

  await using second = await connect()
  expect(String(Buffer.from((await second.get('key')) ?? []))).toBe('value')
  expect((await recordNow()).pid).not.toBe(pid)
})

test('a watch ends with ECLOSED when its server is stopped: nobody would start another', async () => {
  await using store = await connect()
  await store.append('log', 'one')
  const watch = store.watch('log', { mode: 'append' })
  await watch.next()
  await end('SIGTERM')
  const left = async () => {
    for await (const _ of watch);
  }
  expect(await refusal(left())).toMatchObject({ code: 'ECLOSED' })
})

test('TAILRACE_URL names the server instead', async () => {
  await using serving = await serve()
  vi.stubEnv('TAILRACE_URL', serving.target)
  await using store = await connect()
  expect(store.storeId).toBe(serving.store.storeId)
  expect(existsSync(data)).toBe(false)
})

test('an option that is wrong is EINVAL before a server is started', async () => {
  expect(await refusal(connect(undefined, { timeoutMs: -1 }))).toMatchObject({ code: 'EINVAL' })
  expect(existsSync(data)).toBe(false)
})
