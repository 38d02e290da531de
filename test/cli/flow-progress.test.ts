/** What a terminal shows of a run of a flow. See rfc/24, rule 25, and rfc/13, rule 31. */

import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import type { FlowEvent } from '../../src/api/flow.js'
import { FlowProgress } from '../../src/cli/flow-progress.js'
import { Output } from '../../src/cli/output.js'

const clearLine = '\r\x1b[K'

/** Events of a flow of three targets, `squares` with two branches, of which one fails. */
const events: readonly FlowEvent[] = [
  { type: 'hit', target: 'rows', at: 0 },
  { type: 'branch', target: 'squares', at: 1, branches: 2 },
  { type: 'start', target: 'squares[0]', at: 1 },
  { type: 'start', target: 'squares[1]', at: 1 },
  { type: 'finish', target: 'squares[0]', at: 700, ms: 699 },
  {
    ...{ type: 'retry', target: 'squares[1]', at: 900, error: 'not\x1b[31m yet\n!' },
    ...{ tries: 1, waitMs: 100 },
  },
  { type: 'start', target: 'squares[1]', at: 1_000 },
  {
    ...{ type: 'fail', target: 'squares[1]', at: 1_300 },
    ...{ error: 'no\x1b[31m number', onError: 'continue' },
  },
  { type: 'skip', target: 'squares', at: 1_300, because: 'squares[1]' },
  { type: 'skip', target: 'total', at: 1_300, because: 'squares[1]' },
]

it('a terminal gets a line that is drawn again, and above it a line for each target that ended', async () => {
  const listeners = process.listenerCount('exit')
  const writes: string[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      writes.push(String(chunk))
      done()
    },
  })
  const stderr = new Output(Object.assign(stream, { isTTY: true, columns: 80 }))
  let now = 0
  const progress = new FlowProgress(
    { stdout: stderr, stderr },
    { json: false, known: 3 },
    () => now,
  )
  for (const event of events) {
    now = event.at
    await progress.take(event)
  }
  await progress.end('r1')
  expect(writes).toEqual([
    'found   rows\n',
    `${clearLine}2 of 4 done, 1 running, 0 failed`,
    clearLine,
    'retry   squares[1]  call 1 failed, again in 100 ms: not\\x1b[31m yet\n',
    `${clearLine}2 of 4 done, 0 running, 0 failed`,
    `${clearLine}2 of 4 done, 1 running, 0 failed`,
    clearLine,
    "failed  squares[1]  300 ms\n  'no\\x1B[31m number'\n",
    `${clearLine}3 of 4 done, 0 running, 1 failed`,
    clearLine,
    'skipped squares  squares[1] failed\n',
    'skipped total  squares[1] failed\n',
    'r1: 1 made, 1 found, 1 failed, 1 skipped in 1.3 s\n',
  ])
  expect(process.listenerCount('exit')).toBe(listeners)
})

it('says which command lets a worker join that a target waits for, and which worker was refused', async () => {
  const written: string[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      written.push(String(chunk))
      done()
    },
  })
  const stderr = new Output(stream)
  const options = { json: false, known: 2, join: 'tailrace worker flow.mjs' }
  const progress = new FlowProgress({ stdout: stderr, stderr }, options)
  await progress.take({ type: 'wait', target: 'rows', at: 0 })
  await progress.take({ type: 'wait', target: 'model', at: 0, label: 'gpu' })
  const refused = { error: new Error('it differs\nmore'), worker: 'w1 (here)' }
  await progress.take({ type: 'refuse', target: 'rows', at: 0, ...refused })
  expect(written.join('')).toBe(
    'waiting rows  for a worker that joins: tailrace worker flow.mjs\n' +
      'waiting model  for a worker gpu that joins: tailrace worker flow.mjs --label gpu\n' +
      'refused rows  worker w1 (here): it differs\n',
  )
})
