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

/** The lines without their times. */
const texts = () => lines.map((line) => line.replace(/^\S+ /, ''))

const damaged = new TailraceError('ECORRUPT', 'key "a" is damaged')

it('an error of the caller is no line', () => {
  log.fault('GET /v1/kv/a', new TailraceError('EINVAL', 'a key is text'))
  expect(lines).toEqual([])
})

it('what nobody foresaw stands with its stack', () => {
  log.fault('GET /v1/kv/a', new RangeError('out of range'))
  expect(texts().join('')).toMatch(
    /^error GET \/v1\/kv\/a: RangeError: out of range code=EIO\n\t +at /,
  )
})

it('a flood of one kind is some lines and a count, and keeps no other kind out', () => {
  for (let count = 0; count < kindBurst; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst)
  for (let count = 0; count < 100_000; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst)
  log.fault('PUT /v1/kv/b', new TailraceError('EIO', 'the disk failed'))
  log.line('idle: the server ends')
  expect(texts().slice(kindBurst)).toEqual([
    'error PUT /v1/kv/b: EIO: the disk failed code=EIO',
    'info idle: the server ends',
  ])
})

it('a flood is counted once it pauses, and goes on at its pace', () => {
  for (let count = 0; count < kindBurst + 5; count++) log.fault('GET /v1/kv/a', damaged)
  clock.advance(kindPaceMs - 1)
  expect(lines).toHaveLength(kindBurst)
  clock.advance(1)
  expect(texts().slice(kindBurst)).toEqual(['warn 5 lines more of ECORRUPT were not written'])
  for (let count = 0; count < 3; count++) log.fault('GET /v1/kv/a', damaged)
  expect(lines).toHaveLength(kindBurst + 2)
  log.close()
  expect(texts().at(-1)).toBe('warn 2 lines more of ECORRUPT were not written')
  expect(clock.timers).toBe(0)
})

it('a line has a bound, whatever was asked', () => {
  log.fault(`GET /v1/kv/${'a'.repeat(10_000)}`, damaged)
  expect(lines[0]?.length).toBeLessThan(400)
  expect(lines[0]).toContain('ECORRUPT: key "a" is damaged')
  log.line('x'.repeat(100_000))
  expect(lines[1]?.length).toBeLessThan(5_000)
})

it('a line has the time, and in JSON all of it is one object', () => {
  const time = new Date(clock.now()).toISOString()
  log.line('the server ends')
  log = new Log((line) => lines.push(line), clock, { format: 'json' })
  log.fault('GET /v1/kv/a', damaged, 'id-1')
  log.fault('GET /v1/kv/b', new RangeError('two\nlines'), 'id-2')
  expect(lines[0]).toBe(`${time} info the server ends`)
  expect(lines[1]).toBe(
    JSON.stringify({
      ...{ time, level: 'error', message: 'GET /v1/kv/a: ECORRUPT: key "a" is damaged' },
      ...{ code: 'ECORRUPT', request: 'id-1' },
    }),
  )
  expect(lines[2]).not.toContain('\n')
})

it('a level leaves out what is less important, and can be changed', () => {
  log = new Log((line) => lines.push(line), clock, { level: 'warn' })
  log.line('begun')
  log.line('the disk is nearly full', 'warn')
  log.fault('GET /v1/kv/a', damaged)
  log.level = 'error'
  log.line('nearly full still', 'warn')
  log.level = 'info'
  log.line('ends')
  expect(texts()).toEqual([
    'warn the disk is nearly full',
    'error GET /v1/kv/a: ECORRUPT: key "a" is damaged code=ECORRUPT',
    'info ends',
  ])
})

it('a request is a line at debug, without its secrets', () => {
  const ended = { way: 'http', request: 'r', outcome: 200, ms: 1.5, token: 'owner' } as const
  log.request({ ...ended, what: 'GET /v1/kv/a' })
  expect(lines).toEqual([])
  log.level = 'debug'
  log.request({ ...ended, what: 'GET /v1/kv/a?link=secret&follow=true' })
  expect(texts()).toEqual([
    'debug GET /v1/kv/a?link=…&follow=true way=http request=r outcome=200 ms=1.5 token=owner',
  ])
})

it('what somebody wrote forges no line, and moves no terminal', () => {
  const forged = '2026-01-01T00:00:00.000Z info all is well'
  log.fault('GET /v1/kv/a', new TailraceError('ECORRUPT', `key "a\n${forged}\r\u001b[2J\u202e"`))
  log.fault('GET /v1/kv/a', new RangeError(`odd\n${forged}`))
  const starts = lines
    .join('\n')
    .split('\n')
    .filter((line) => /^\d{4}-/.test(line))
  expect(starts).toHaveLength(2)
  expect(texts()[0]).toBe(
    `error GET /v1/kv/a: ECORRUPT: key "a code=ECORRUPT\n\t${forged}\\u{d}\\u{1b}[2J\\u{202e}"`,
  )
})
