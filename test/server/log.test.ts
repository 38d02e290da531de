/** The server's log: what stands in it, and that no flood of one kind of failure fills it. */

import { beforeEach, expect, it } from 'vitest'
import { TailraceError } from '../../src/error.js'
import { kindBurst, kindPaceMs, Log } from '../../src/server/log.js'
import { TestClock } from '../clock.js'

let lines: string[]
let clock: TestClock
let log: Log
beforeEach(() => {
  lines = []
  clock = new TestClock()
  log = new Log((line) => lines.push(line), clock)
})

const damaged = new TailraceError('ECORRUPT', 'key "a" is damaged')

it('an error of the caller is no line', () => {
  log.fault('GET /v1/kv/a', new TailraceError('EINVAL', 'a key is text'))
  expect(lines).toEqual([])
})

it('what nobody foresaw stands with its stack', () => {
  log.fault('GET /v1/kv/a', new RangeError('out of range'))
  expect(lines.join('')).toMatch(/^GET \/v1\/kv\/a: RangeError: out of range\n +at /)
})

it('a flood of one kind is some lines and a count, and keeps no other kind out', () => {
  for (let count = 0; count < kindBurst; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst)
  for (let count = 0; count < 100_000; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst)
  log.fault('PUT /v1/kv/b', new TailraceError('EIO', 'the disk failed'))
  log.line('idle: the server ends')
  expect(lines.slice(kindBurst)).toEqual([
    'PUT /v1/kv/b: EIO: the disk failed',
    'idle: the server ends',
  ])
})

it('a flood is counted once it pauses, and goes on at its pace', () => {
  for (let count = 0; count < kindBurst + 5; count++) log.fault('GET /v1/kv/a', damaged)
  clock.advance(kindPaceMs - 1)
  expect(lines).toHaveLength(kindBurst)
  clock.advance(1)
  expect(lines.slice(kindBurst)).toEqual(['5 lines more of ECORRUPT were not written'])
  for (let count = 0; count < 3; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst + 2)
  log.close()
  expect(lines.at(-1)).toBe('2 lines more of ECORRUPT were not written')
  expect(clock.timers).toBe(0)
})

it('a line has a bound, whatever was asked', () => {
  log.fault(`GET /v1/kv/${'a'.repeat(10_000)}`, damaged)
  expect(lines[0]?.length).toBeLessThan(400)
  expect(lines[0]).toContain('ECORRUPT: key "a" is damaged')
  log.line('x'.repeat(100_000))
  expect(lines[1]?.length).toBeLessThan(5_000)
})
