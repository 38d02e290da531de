/** `watch`; and followers of a log that drops appends before they were read: rfc/19, rule 5, and rfc/7, rule 17. */

import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { From, WatchEvent } from '../../src/api/watch.js'
import type { CommandContext } from '../../src/cli/command.js'
import { logEvents } from '../../src/cli/watch.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { Sandbox } from '../support/sandbox.js'

describe('watch', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await Sandbox.makeServed()
  })
  afterAll(() => sandbox.remove())

  it('prints raw appends as they come, and ends at the seal', async () => {
    const { child, ended } = sandbox.start(['watch', 'w/live', '--wait-create'])
    const all = ended()
    const first = once(child.stdout, 'data')
    await sandbox.ok(['append', 'w/live', 'a\n'])
    expect(String(await first)).toBe('a\n')
    await sandbox.ok(['append', 'w/live', 'b', '--seal'])
    expect(await all).toMatchObject({ code: 0, stdout: 'a\nb', stderr: '' })
  })

  it('starts where it is told', async () => {
    await sandbox.ok(['append', 'w/from', '-', '--lines', '--seal'], { input: '0\n1\n2\n3\n' })
    expect(await sandbox.ok(['watch', 'w/from'])).toBe('0\n1\n2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '--from', '2'])).toBe('2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '--from', '-1'])).toBe('3\n')
    expect(await sandbox.ok(['watch', 'w/from', '-n', '3'])).toBe('1\n2\n3\n')
    expect(await sandbox.ok(['watch', 'w/from', '-n', '0'])).toBe('')
    expect(await sandbox.ok(['watch', 'w/from', '--offset', '4'])).toBe('2\n3\n')
    const json = (await sandbox.ok(['watch', 'w/from', '-n', '1', '--json'])).trim().split('\n')
    const events = json.map((line) => JSON.parse(line))
    expect(events[0]).toMatchObject({
      type: 'append',
      index: 3,
      offset: 6,
      data: { base64: 'Mwo=' },
    })
    expect(events.at(-1)).toMatchObject({ type: 'end', reason: 'sealed' })
  })

  it('prints the keys that change below a directory', async () => {
    await sandbox.ok(['put', 'w/dir/a', '1'])
    const { seq } = JSON.parse(await sandbox.ok(['root', '--json']))
    await sandbox.ok(['put', 'w/dir/b', '1'])
    await sandbox.ok(['put', 'w/dir/a', '2'])
    await sandbox.ok(['put', 'w/elsewhere', '2'])
    const since = ['--since', String(seq), '--no-follow']
    expect(await sandbox.ok(['watch', 'w/dir/', ...since])).toBe('M w/dir/a\nA w/dir/b\n')
    const all = ['watch', 'w/dir', '--mode', 'changes', '--initial', '--no-follow']
    expect(await sandbox.ok(all)).toBe('A w/dir\nA w/dir/a\nA w/dir/b\n')
    const json = await sandbox.ok(['watch', 'w/dir/', ...since, '--json'])
    const [event] = json.trim().split('\n')
    expect(JSON.parse(event ?? '')).toMatchObject({ type: 'changes', from: seq })
    for (const wrong of [
      ['w/dir/', '--from', '1'],
      ['w/dir/', '--wait-create'],
      ['w/dir/', '--uniq'],
      ['w/dir/', '--since', '1', '--initial'],
    ]) {
      expect((await sandbox.call(['watch', ...wrong])).code).toBe(2)
    }
  })

  it('--no-follow ends when all that is there was printed', async () => {
    await sandbox.ok(['append', 'w/open', 'open'])
    expect(await sandbox.ok(['watch', 'w/open', '--no-follow'])).toBe('open')
    expect(await sandbox.ok(['watch', 'w/open', '--mode', 'value', '--no-follow'])).toBe('open\n')
  })

  it('of an overwritten key ends with 4 after what was there', async () => {
    await sandbox.ok(['append', 'w/over', 'before'])
    const { child, ended } = sandbox.start(['watch', 'w/over'])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/over', 'after'])
    const { code, stdout, stderr } = await all
    expect(stderr).toMatch(/^tailrace: EOVERWRITTEN: .+\n$/)
    expect({ code, stdout }).toEqual({ code: 4, stdout: 'before' })
  })

  it('of values prints each new one', async () => {
    await sandbox.ok(['put', 'w/value', 'one'])
    const { child, ended } = sandbox.start(['watch', 'w/value', '--mode', 'value', '--uniq'])
    const all = ended()
    await once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/value', 'one'])
    const second = once(child.stdout, 'data')
    await sandbox.ok(['put', 'w/value', 'two\n'])
    await second
    child.kill('SIGINT')
    expect(await all).toMatchObject({ code: 130, stdout: 'one\ntwo\n' })
  })
})

describe('a follower of a log that drops appends', () => {
  let store: EmbeddedStore
  let said: string[]
  let call: Pick<CommandContext, 'stderr'>
  beforeEach(async () => {
    store = await open()
    said = []
    const line = async (text: string) => void said.push(text)
    call = { stderr: { line } } as unknown as CommandContext
  })
  afterEach(() => store[Symbol.asyncDispose]())

  const shown = (event: WatchEvent | undefined) =>
    event?.type === 'append' ? `${event.index} ${Buffer.from(event.data)}` : event?.type
  const appendAll = (values: string) =>
    store.commit({
      ops: [...values].map((value) => ({ op: 'append', key: 'log', value }) as const),
    })

  it('say what was dropped before it was read, and go on', async () => {
    await store.append('log', 'a', { cap: { keep: 2 } })
    const events = logEvents(call, store, 'log', {})
    const next = async () => shown((await events.next()).value ?? undefined)
    expect([await next(), await next()]).toEqual(['0 a', 'live'])
    await appendAll('bcdef')
    expect([await next(), await next()]).toEqual(['4 e', '5 f'])
    expect(said).toEqual([
      'tailrace: appends 1 to 3 were dropped before they were read: what follows begins with append 4',
    ])
    await store.append('log', 'g', { seal: true })
    expect([await next(), await next(), await next()]).toEqual(['6 g', 'end', undefined])
    expect(said).toHaveLength(1)
  })

  it('end as a watch does where they did not begin, or the log is another one', async () => {
    await store.append('log', 'a', { cap: { keep: 1 } })
    await appendAll('bc')
    const from: From = 0
    const below = logEvents(call, store, 'log', { from }).next()
    await expect(below).rejects.toMatchObject({ code: 'ECOMPACTED' })
    const events = logEvents(call, store, 'log', {})
    expect(shown((await events.next()).value ?? undefined)).toBe('2 c')
    await store.put('log', 'other')
    const rest = async () => {
      for await (const event of events) expect(event.type).toBe('live')
    }
    await expect(rest()).rejects.toMatchObject({ code: 'EOVERWRITTEN' })
    expect(said).toEqual([])
  })
})
