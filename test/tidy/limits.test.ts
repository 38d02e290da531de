/** `docs/limits.md` says of each limit what the source says, and has every bound that callers see. */

import { expect, test } from 'vitest'
import { codes } from '../../src/error.js'
import { boundsOf, constantOf } from './bounds.js'
import { tablesOf } from './markdown.js'
import { nothing, readText, sources } from './tree.js'

const columns = ['What', 'Limit', 'Name', 'In', 'Beyond it', 'Can it be changed?']
const tables = tablesOf(readText('docs/limits.md'))
const limits = tables.flatMap(({ rows }) =>
  rows
    .map((row) => columns.map((name) => (row[name] ?? '').replaceAll('`', '')))
    .map(([what = '', limit = '', name = '', path = '', beyond = '', change = '']) => {
      return { what, limit, name, path, beyond, change }
    }),
)
const named = limits.filter(({ name }) => name !== '')

/** What units stand for: bytes, or ms. What is counted has none, or another word. */
const units: Readonly<Record<string, number>> = {
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  Mi: 1024 ** 2,
  s: 1_000,
  min: 60_000,
  h: 3_600_000,
  days: 24 * 3_600_000,
  years: 365 * 24 * 3_600_000,
}

/** The number that a cell begins with, in bytes or ms where it has such a unit. */
function numberOf(limit: string): number {
  const [, digits = '', unit = ''] = /^([\d,]+)(?: (\w+))?/.exec(limit) ?? []
  return Number(digits.replaceAll(',', '') || Number.NaN) * (units[unit] ?? 1)
}

test('every limit has the value of its constant', () => {
  expect(tables.map(({ names }) => names)).toEqual(tables.map(() => columns))
  expect(named.length).toBeGreaterThan(120)
  nothing(
    named.flatMap(({ limit, name, path }) => {
      const value = constantOf(path, name)
      if (value === undefined) return [`${path} has no constant ${name}`]
      return value === numberOf(limit) ? [] : [`${name} is ${value}: docs/limits.md says ${limit}`]
    }),
  )
})

test('a limit that has no constant says that there is none', () => {
  const others = limits.filter(({ name }) => name === '')
  expect(others.map(({ limit }) => limit.slice(0, 8))).toEqual(others.map(() => 'no limit'))
  expect(others.every(({ change }) => change !== 'No')).toBe(true)
})

test('every bound that src/api exports stands in docs/limits.md, once', () => {
  const all = sources.filter(({ path }) => path.startsWith('src/api/'))
  const bounds = all.flatMap((file) => boundsOf(file).map((name) => `${file.path} ${name}`))
  expect(bounds.length).toBeGreaterThan(60)
  const listed = named.map(({ path, name }) => `${path} ${name}`)
  nothing([
    ...bounds
      .filter((bound) => !listed.includes(bound))
      .map((bound) => `${bound}: say it in docs/limits.md`),
    ...listed.filter((limit, at) => listed.indexOf(limit) !== at).map((limit) => `${limit}: twice`),
  ])
})

test('every error of docs/limits.md is one of the list', () => {
  const known: readonly string[] = codes
  nothing(
    limits.flatMap(({ what, beyond }) =>
      (beyond.match(/\bE[A-Z2]{3,}\b/g) ?? [])
        .filter((code) => !known.includes(code))
        .map((code) => `"${what}": ${code} is no code`),
    ),
  )
})
