/** A client process that stands still (SIGSTOP) while tens of thousands of commits happen below the directory that it
 *  watches in mode changes. See rfc/7, rules 24 to 27, and rfc/12, rule 22. */

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { expect, it } from 'vitest'
import type { ChangesEvent } from '../../src/api/watch.js'
import { backlogSize } from '../../src/server/outbox.js'
import { Serving } from '../server/serving.js'
import { bundle } from '../support/bundle.js'

const keys = 200
const commits = 20_000
const atOnce = 500

it('a client that stands still costs its position, and gets the net change afterwards', async () => {
  await using programs = await bundle({ watching: 'test/client/watching-changes.ts' })
  await using serving = await Serving.start()
  const { store, server } = serving
  const keyOf = (n: number) => `dir/${n % 7}/${n}`
  for (let n = 0; n < keys; n++) await store.put(keyOf(n), 'before')
  const child = spawn(process.execPath, [programs.files.watching, `unix:${server.socket}`, 'dir'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const state = new Map<string, string>()
    let at = 0
    const take = async () => {
      const event = JSON.parse((await lines.next()).value ?? '{}') as ChangesEvent
      if (event.type !== 'changes') return []
      // Gapless: it begins where the one before ended, or goes on with the same two roots.
      expect(event.from ?? 0).toBe(at)
      if (!event.more) at = event.seq
      for (const { key, after } of event.entries) {
        if (after) state.set(key, after.type === 'dir' ? 'dir' : after.ref)
        else state.delete(key)
      }
      return event.entries
    }
    const { seq } = await store.root()
    while (at < seq) await take()
    child.kill('SIGSTOP')
    await store.put(keyOf(0), 'told while it stands still')
    let backlog = 0
    for (let n = 0; n < commits; n += atOnce) {
      await Promise.all(
        Array.from({ length: atOnce }, (_, each) => {
          const key = keyOf((n + each) % (keys + 50))
          const isLast = n + each >= commits - keys / 2
          return isLast && each % 3 === 0
            ? store.commit({ ops: [{ op: 'unlink', key }] })
            : store.put(key, `${n + each}`)
        }),
      )
      // Others are served.
      const { body } = await serving.askLocally('GET', '/v1/status')
      backlog = Math.max(backlog, JSON.parse(body.toString()).backlog)
    }
    // It has read nothing; the server holds no more than what a socket may have.
    expect(backlog).toBeLessThan(2 * backlogSize)
    expect(store.watchers).toBe(1)
    const end = (await store.root()).seq
    expect(end).toBe(seq + 1 + commits)
    const diff = store.history.diff({ from: seq, to: end, prefix: 'dir', limit: 10_000 })
    child.kill('SIGCONT')
    const told = new Set<string>()
    let events = 0
    while (at < end) {
      for (const { key } of await take()) told.add(key)
      events++
    }
    // Far fewer events than commits.
    expect(events).toBeLessThan(commits / 100)
    // Exactly the tree that is there.
    const listed = await store.list('dir', { recursive: true, limit: 10_000 })
    const files = listed.entries.filter(({ type }) => type !== 'dir')
    const there = await Promise.all(
      files.map(
        async ({ name }) => [`dir/${name}`, (await store.stat(`dir/${name}`))?.ref] as const,
      ),
    )
    const known = [...state].filter(([, ref]) => ref !== 'dir')
    expect(new Map(known)).toEqual(new Map(there))
    // And exactly the net change: each key that the comparison of both trees names was told.
    const { entries } = await diff
    expect(entries.length).toBeGreaterThan(keys / 2)
    expect(entries.filter(({ key }) => !told.has(key))).toEqual([])
    for (const { key, after } of entries) {
      expect(state.get(key)).toBe(after?.type === 'dir' ? 'dir' : after?.ref)
    }
  } finally {
    child.kill('SIGKILL')
  }
}, 120_000)
