/** The text of metrics, read by the command line. See rfc/29, rules 2 and 3. */

import { describe, expect, it } from 'vitest'
import { MetricsChange, MetricsText } from '../../src/cli/metrics-text.js'

const text = (lines: readonly string[], at: number) =>
  new MetricsText(`# HELP a text\n# TYPE a counter\n${lines.join('\n')}\n`, at)

it('has values by name and labels, and 0 for what is not there', () => {
  const look = text(['a 3', 'b{x="1",y="two words"} 0.5', 'b{x="2"} 4e-7'], 0)
  expect([look.value('a'), look.value('b{x="2"}'), look.value('c')]).toEqual([3, 4e-7, 0])
  expect(look.sum('b')).toBeCloseTo(0.5000004, 10)
  expect(look.sum('b', (labels) => labels.get('y') === 'two words')).toBe(0.5)
})

describe('a change', () => {
  const histogram = (counts: readonly number[], sum: number) => [
    ...counts.map((count, at) => `h_bucket{le="${['1', '2', '+Inf'][at]}"} ${count}`),
    `h_sum ${sum}`,
    `h_count ${counts.at(-1)}`,
  ]

  it('is a rate, and counts a server that began anew from 0', () => {
    const change = new MetricsChange(text(['a 10'], 1_000), text(['a 40'], 3_000))
    expect(change.perSecond((look) => look.value('a'))).toBe(15)
    const anew = new MetricsChange(text(['a 40'], 1_000), text(['a 10'], 2_000))
    expect(anew.perSecond((look) => look.value('a'))).toBe(10)
  })

  it('of a histogram has its mean and its quantiles since then', () => {
    const before = text(histogram([10, 10, 10], 5), 0)
    const now = text(histogram([10, 19, 20], 25), 1_000)
    const change = new MetricsChange(before, now)
    expect(change.mean('h')).toBe(2)
    expect(change.quantile('h', 0.5)).toBe(2)
    expect(change.quantile('h', 0.9)).toBe(2)
    expect(change.quantile('h', 0.99)).toBe(Number.POSITIVE_INFINITY)
  })

  it('of a histogram that got nothing has none', () => {
    const look = text(histogram([1, 1, 1], 1), 0)
    const change = new MetricsChange(look, text(histogram([1, 1, 1], 1), 1_000))
    expect([change.mean('h'), change.quantile('h', 0.99)]).toEqual([undefined, undefined])
  })
})
