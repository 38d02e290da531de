/** The memory of what clients have not read. See rfc/12, rule 40. */

import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { Backlogs, backlogSpentSize, stalledMs } from '../../src/server/backlogs.js'

it('what is large waits while others have the memory, and passes one by one', async () => {
  const all = new Backlogs(() => 0)
  const full = all.begin(() => {})
  full.set(backlogSpentSize)
  const early = all.begin(() => {})
  await early.room(1)
  full.set(backlogSpentSize + 1)
  const parts = [1, 2, 3].map(() => all.begin(() => {}))
  const passed: number[] = []
  const rooms = parts.map(async (part, at) => {
    await part.room(1)
    passed.push(at)
    part.set(backlogSpentSize)
  })
  for (let n = 0; n < 10; n++) await turn()
  expect(passed).toEqual([])
  full.set(1)
  await rooms[0]
  // The first one has the memory now.
  for (let n = 0; n < 10; n++) await turn()
  expect(passed).toEqual([0])
  parts[0]?.end()
  await rooms[1]
  parts[1]?.end()
  await rooms[2]
  expect(passed).toEqual([0, 1, 2])
})

it('what may be sent counts before it is, until it was, or until its client has gone', async () => {
  const all = new Backlogs(() => 0)
  const parts = [1, 2, 3].map(() => all.begin(() => {}))
  for (const part of parts) await part.room(backlogSpentSize / 2)
  expect(all.spent).toBe(true)
  parts[0]?.set(10)
  expect(all.size).toBe(backlogSpentSize + 10)
  for (const part of parts) part.end()
  expect(all.size).toBe(0)
})

it('one that ends while it waits for memory is told so, and holds up nobody', async () => {
  const all = new Backlogs(() => 0)
  const full = all.begin(() => {})
  full.set(backlogSpentSize + 1)
  const [gone, next] = [all.begin(() => {}), all.begin(() => {})]
  const refused = gone.room(1)
  const waiting = next.room(1)
  gone.end()
  await expect(refused).rejects.toMatchObject({ code: 'ECANCELED' })
  full.end()
  await waiting
  await expect(gone.room(1)).rejects.toMatchObject({ code: 'ECANCELED' })
})

it('who has read nothing for longest loses the connection, not before its time, and only for others', () => {
  let now = 0
  const all = new Backlogs(() => now)
  const dropped: string[] = []
  const begin = (name: string, size: number) => {
    const part = all.begin(() => dropped.push(name))
    part.set(size)
    return part
  }
  const third = Math.ceil(backlogSpentSize / 3) + 1
  const slow = begin('slow', third)
  now = 1
  begin('deaf', third)
  now = 2
  begin('deaf too', third)
  now = stalledMs
  slow.set(third - 1) // it has read something
  slow.set(third)
  expect(() => all.checkRoom()).toThrow(expect.objectContaining({ code: 'EBUSY' }))
  expect(dropped).toEqual([])
  now = stalledMs + 1
  all.checkRoom()
  expect(dropped).toEqual(['deaf'])
  // There is room now: nobody else is dropped.
  now = 2 * stalledMs
  all.checkRoom()
  expect(dropped).toEqual(['deaf'])
  expect(all.size).toBe(2 * third)
})
