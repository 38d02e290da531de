/** The pace of background work beside writers (rfc/4, rule 32): when it goes on, and whose record its jobs
 *  share. */

import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { Health } from '../../src/engine/health.js'
import { freeSliceMs, WritePace } from '../../src/engine/write-pace.js'
import { Writer } from '../../src/engine/writer.js'

test('a turn beside a record waits for the next one to be on its way', async () => {
  const pace = new WritePace()
  pace.submitted()
  pace.begun()
  let turned = false
  const turn = pace.turn().then(() => {
    turned = true
  })
  for (let n = 0; n < 5; n++) await setImmediate()
  expect(turned).toBe(false)
  pace.ended()
  await Promise.resolve()
  expect(turned).toBe(false)
  pace.begun()
  await turn
})

test('a turn comes where no further record does', async () => {
  const pace = new WritePace()
  await pace.turn()
  pace.submitted()
  pace.begun()
  const turn = pace.turn()
  pace.ended()
  await turn
})

test('slices are shorter while writers come', async () => {
  const pace = new WritePace()
  expect(pace.isBusy).toBe(false)
  expect(pace.sliceMs).toBe(freeSliceMs)
  pace.submitted()
  pace.begun()
  expect(pace.isBusy).toBe(true)
  expect(pace.sliceMs).toBeLessThan(freeSliceMs)
})

/** A writer whose records are lists of the names of their jobs. */
function writerOf(write: () => Promise<void>) {
  const records: string[][] = []
  let names: string[] = []
  const writer = new Writer({
    ...{ health: new Health(''), pace: new WritePace(), directory: '', stored: () => 0 },
    ready: async () => {},
    complete: async () => async () => {
      records.push(names)
      names = []
      await write()
      return async () => {}
    },
  })
  const submit = (name: string, patient = false) =>
    writer.submit({
      ...{ names: [], blobs: [], patient },
      plan: () => {
        names.push(name)
        return () => {}
      },
    })
  return { records, submit }
}

test('a patient job shares the next record of the writers', async () => {
  const first = deferred<void>()
  let writes = 0
  const { records, submit } = writerOf(async () => {
    if (writes++ === 0) await first.promise
  })
  const writing = submit('first').then(async () => {
    for (let n = 0; n < 50; n++) await Promise.resolve() // the writer has looked at its queue by then
    await submit('second')
  })
  await setImmediate()
  const patient = submit('patient', true)
  first.resolve()
  await Promise.all([writing, patient])
  expect(records).toEqual([['first'], ['patient', 'second']])
})

test('a patient job has a record of its own where no writer comes', async () => {
  const { records, submit } = writerOf(async () => {})
  await submit('patient', true)
  await submit('writer')
  await submit('patient', true)
  expect(records).toEqual([['patient'], ['writer'], ['patient']])
})
