/** A job's state is a fold over its events, and events survive being stored. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { JobView } from '../../src/api/job.js'
import { decodeEvents, encodeEvent } from '../../src/eventlog/event.js'
import {
  eventOf,
  exitCodeOf,
  fold,
  type JobEvent,
  jobEventOf,
  submitted,
} from '../../src/job/state.js'

const spec = { version: 1, command: ['x'], cwd: '/', envNames: [], set: {}, stdin: false } as const
const first = submitted('f1', spec, 5)

const at = fc.nat({ max: 2 ** 41 })
const pid = fc.integer({ min: 1, max: 2 ** 22 })
const anyEvent: fc.Arbitrary<JobEvent> = fc.oneof(
  fc.record({ name: fc.constant('submit' as const), at }),
  fc.record(
    { name: fc.constant('start' as const), at, pid, pgid: pid, startTime: fc.string() },
    { requiredKeys: ['name', 'at', 'pid', 'pgid'] },
  ),
  fc.record({
    name: fc.constant('exception' as const),
    at,
    type: fc.constantFrom('exec', 'lost', 'store', 'server-stop', 'note'),
    message: fc.string(),
    severity: fc.nat({ max: 2 }),
  }),
  fc.oneof(
    fc.record({ name: fc.constant('finish' as const), at, status: fc.nat({ max: 255 }) }),
    fc.record({ name: fc.constant('finish' as const), at, signal: fc.constant('SIGKILL') }),
    fc.record({ name: fc.constant('finish' as const), at }),
  ),
)

test('an event comes back from the store as it went in', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const [stored] = decodeEvents(encodeEvent(eventOf(event)))
      expect(stored && jobEventOf(stored)).toEqual(event)
    }),
  )
})

test('the state follows the events, and nothing follows the finish', () => {
  fc.assert(
    fc.property(fc.array(anyEvent), (events) => {
      let view: JobView = first
      for (const [index, event] of events.entries()) {
        const before = events.slice(0, index + 1)
        view = fold(view, event)
        const end = before.findIndex((other) => other.name === 'finish')
        const seen = before.slice(0, end < 0 ? before.length : end)
        const fatal = seen.find((other) => other.name === 'exception' && other.severity === 0)
        const lost = fatal?.name === 'exception' && fatal.type === 'lost'
        const started = seen.some((other) => other.name === 'start')
        const open = started ? 'running' : 'submitted'
        const over = lost ? 'lost' : 'finished'
        expect(view.state).toBe(end < 0 ? open : over)
        expect(view.exception === undefined).toBe(fatal === undefined)
        if (view.finished === undefined) expect(view.status ?? view.signal).toBeUndefined()
      }
    }),
  )
})

test.each([
  [{ status: 0 }, 0],
  [{ status: 3 }, 3],
  [{ signal: 'SIGINT' }, 130],
  [{ signal: 'SIGKILL' }, 137],
  [{ signal: 'SIGNONE' }, 1],
  [{}, 1],
])('exitCodeOf() of %j is %i', (exit, code) => {
  expect(exitCodeOf({ ...first, state: 'finished', ...exit })).toBe(code)
})

test('an event of another version is skipped, a malformed one is ECORRUPT', () => {
  expect(jobEventOf({ timestamp: 1, name: 'urgency' })).toBeUndefined()
  for (const name of ['start', 'exception']) {
    expect(() => jobEventOf({ timestamp: 1, name, context: {} })).toThrow(
      expect.objectContaining({ code: 'ECORRUPT' }),
    )
  }
})
