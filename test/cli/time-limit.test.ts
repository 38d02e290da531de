/** `--timeout`: every command ends in the time that it was given (rfc/13, rule 20). */

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LyingProxy } from '../client/lying-proxy.js'
import { type Serving, serve } from '../client/serving.js'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
let serving: Serving
let proxy: LyingProxy

beforeEach(async () => {
  sandbox = await Sandbox.make()
  serving = await serve()
  proxy = await LyingProxy.start(serving.server.socket)
})
afterEach(async () => {
  await proxy[Symbol.asyncDispose]()
  await serving[Symbol.asyncDispose]()
  await sandbox.remove()
})

const timedOut = { code: 5, stderr: expect.stringContaining('ETIMEDOUT') }
const mute = { status: 0, mute: true } as const

describe('a command with --timeout', () => {
  it('ends at a server that says nothing, whatever it is to do there', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const place = `--url=http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const commands = [
      ['get', 'k'],
      ['put', 'k', 'v'],
      ['watch', 'k'],
      ['run', '--', 'true'],
      ['status'],
      ['stop'],
    ]
    const calls = commands.map(([name = '', ...rest]) =>
      sandbox.call([name, '--timeout=300ms', place, ...rest]),
    )
    for (const ended of await Promise.all(calls)) expect(ended).toMatchObject(timedOut)
    silent.close()
  })

  it('that follows, waits or runs a job ends, and the job with it', async () => {
    await serving.store.put('k', 'v')
    const place = ['--timeout=1s', `--url=${serving.target}`]
    const [watch, run] = await Promise.all([
      sandbox.call(['watch', 'k', '--mode=value', ...place]),
      sandbox.call(['run', ...place, '--', 'sleep', '1000']),
    ])
    expect(watch).toMatchObject({ ...timedOut, stdout: expect.stringContaining('v') })
    expect(run).toMatchObject(timedOut)
    const [job] = (await serving.store.jobs.list()).jobs
    expect(await serving.store.jobs.wait(job?.id ?? '')).toMatchObject({ signal: 'SIGTERM' })
  })

  it('says EUNKNOWN where a write may have been done', async () => {
    proxy.lie(1, { ...mute, only: /^PUT/ })
    const put = ['put', 'k', 'v', '--timeout=1s', `--url=${proxy.target}`]
    expect(await sandbox.call(put)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('EUNKNOWN'),
    })
  })

  it.each(['0', '10', '-1s', '30d', 'soon'])('of %s is a wrong command line', async (time) => {
    expect((await sandbox.call(['get', 'k', `--timeout=${time}`])).code).toBe(2)
  })
})
