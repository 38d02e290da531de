/** The table of the benchmarks: ratios, gates, missing and failed peers, and the section of a
 *  page. */

import { expect, test } from 'vitest'
import {
  againstBest,
  type Described,
  markdownOf,
  type Report,
  type Row,
  ratioOf,
  sectionEnd,
  sectionStart,
  shownGate,
  shownValues,
  withSection,
} from '../../bench/figures.js'

const systems: readonly Described[] = [
  { id: 'tailrace', title: 'Tailrace', durability: 'always', version: '1.2.3' },
  { id: 'file', title: 'plain file', durability: 'fdatasync' },
  { id: 'redis', title: 'Redis', durability: 'fsync always', version: '7.0.15' },
  { id: 'nats', title: 'NATS', durability: 'sync always', missing: 'Debian has 2.9' },
  { id: 'etcd', title: 'etcd', durability: 'synced', version: '3.4' },
]

const rate: Row = {
  bench: 'append-rate',
  work: '1 key',
  unit: 'appends/s',
  better: 'more',
  figures: [
    { system: 'tailrace', values: [40, 50, 60] },
    { system: 'file', values: [500, 500, 500], label: '`cat`' },
    { system: 'redis', values: [100, 100, 100] },
    { system: 'nats', absent: 'missing', why: 'Debian has 2.9' },
    { system: 'etcd', absent: 'failed', why: 'it ended | (1)' },
  ],
  gates: [{ to: 'redis', ratio: 0.5 }],
}

const report: Report = {
  machine: 'cpu × 2',
  date: '2026-01-02T03:04',
  load: [0.1, 2],
  seconds: 12.4,
  runs: 3,
  scale: 1,
  systems,
  rows: [rate],
  failed: [{ bench: 'cli', why: 'no\nNode' }],
}

test('a ratio is the median of those of the runs, of the medians where the runs differ', () => {
  expect(ratioOf([1, 4, 9], [1, 2, 3])).toBe(2)
  expect(ratioOf([1, 4, 9], [2])).toBe(2)
})

test('values are shown as median and spread, one value alone', () => {
  expect(shownValues([1200, 1000, 1100.4])).toBe('1,100 (1,000–1,200)')
  expect(shownValues([0.123])).toBe('0.12')
})

test('a gate is met at its bound, more and less alike', () => {
  const gate = { to: 'redis', ratio: 0.5 } as const
  expect(shownGate(gate, rate, systems)).toBe('met: 0.50 × Redis (≥ 0.5)')
  expect(shownGate({ ...gate, ratio: 0.51 }, rate, systems)).toContain('missed')
  const time: Row = { ...rate, unit: 'ms', better: 'less' }
  expect(shownGate(gate, time, systems)).toBe('met: 0.50 × Redis (≤ 0.5)')
  expect(shownGate({ ...gate, ratio: 0.49 }, time, systems)).toContain('missed')
  expect(shownGate({ to: 'file', ratio: 2 }, rate, systems)).toContain(': 0.10 × `cat` (≥ 2)')
  expect(shownGate({ bound: 50 }, time, systems)).toBe('met: ≤ 50.0 ms')
  expect(shownGate({ label: 'one write', values: [20, 25, 30], ratio: 2 }, time, systems)).toBe(
    'met: 2.00 × one write (≤ 2)',
  )
})

test('a gate against a peer that has no figure is unknown, not met', () => {
  expect(shownGate({ to: 'nats', ratio: 1 }, rate, systems)).toBe('unknown: ≥ 1 × NATS')
})

test('the best peer is neither ours nor the plain file', () => {
  expect(againstBest(rate, systems)).toBe('0.50 × Redis')
  const two: Row = {
    ...rate,
    better: 'less',
    figures: [...rate.figures.slice(0, 3), { system: 'etcd', values: [25, 25, 25] }],
  }
  expect(againstBest(two, systems)).toBe('2.00 × etcd')
})

test('the table has every system that should have a figure, and why one has none', () => {
  expect(markdownOf(report).split('\n')).toEqual([
    'cpu × 2. 2026-01-02T03:04, 12 s, load 0.10 before and 2.00 after. Medians of 3 runs (lowest–highest).',
    '',
    '| work | Tailrace | plain file | Redis | NATS | etcd | to the best peer | gate |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    '| **append-rate**: 1 key, appends/s | 50.0 (40.0–60.0) | 500 (500–500) `cat` | 100 (100–100) | missing | failed | 0.50 × Redis | met: 0.50 × Redis (≥ 0.5) |',
    '| **cli**: failed | no Node |',
    '',
    '* Tailrace 1.2.3: always.',
    '* plain file: fdatasync.',
    '* Redis 7.0.15: fsync always.',
    '* NATS: sync always. **Missing**: Debian has 2.9.',
    '* etcd 3.4: synced.',
    '* etcd failed in append-rate: it ended \\| (1).',
    '',
  ])
})

test('only the section of a page is replaced, again and again', () => {
  const page = `head\n${sectionStart}\nold\n${sectionEnd}\nfoot\n`
  const once = withSection(page, 'new\n')
  expect(once).toBe(`head\n${sectionStart}\n\nnew\n\n${sectionEnd}\nfoot\n`)
  expect(withSection(once, 'new\n')).toBe(once)
  expect(() => withSection('head', 'new')).toThrow(sectionStart)
})
