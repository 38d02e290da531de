/** kill -9 of the server while 16 clients append and one watches: after the next command has started
 *  another server, everything acknowledged is there, in order, once; the watch goes on over the crash
 *  without a gap or a repeat. See rfc/4, rfc/7, rfc/13. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import type { TailraceError } from '../../src/error.js'
import { readServerRecord } from '../../src/local/directory.js'
import { Sandbox } from './harness.js'

const clients = 16
const acknowledgedMin = 800

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it('everything acknowledged survives kill -9 of the server, and a watch goes on', async () => {
  await sandbox.ok(['append', 'log', 'first\n'])
  const server = await readServerRecord(sandbox.data)
  if (!server) throw new Error('no server runs')
  const target = `unix:${server.socket}`
  await using watcher = await connect(target)
  const watched = watcher.watch('log', { mode: 'append' })
  const stores = await Promise.all(Array.from({ length: clients }, () => connect(target)))
  const acknowledged = new Map<number, string>()
  const lost: string[] = []
  const write = async (store: Store, writer: number) => {
    for (let count = 0; ; count++) {
      const line = `${writer}/${count}`
      try {
        const { result } = await store.append('log', `${line}\n`)
        acknowledged.set(result.index ?? -1, line)
      } catch (error) {
        lost.push((error as TailraceError).code)
        return
      }
      if (acknowledged.size === acknowledgedMin) process.kill(server.pid, 'SIGKILL')
    }
  }
  await Promise.all(stores.map(write))
  await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
  // What was on its way is not known to be there; what could not be sent is not.
  expect(lost).toHaveLength(clients)
  for (const code of lost) expect(['EUNKNOWN', 'ECLOSED']).toContain(code)

  const lines = (await sandbox.ok(['get', 'log'])).trimEnd().split('\n')
  for (const [index, line] of acknowledged) expect(lines[index]).toBe(line)
  expect(new Set(lines).size).toBe(lines.length)
  expect((await readServerRecord(sandbox.data))?.pid).not.toBe(server.pid)

  await sandbox.ok(['append', 'log', 'last\n', '--seal'])
  const delivered: string[] = []
  for await (const event of watched) {
    if (event.type !== 'append') continue
    expect(event.index).toBe(delivered.length)
    delivered.push(Buffer.from(event.data).toString().trimEnd())
  }
  expect(delivered).toEqual([...lines, 'last'])
}, 60_000)
