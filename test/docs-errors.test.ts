/** The table of `docs/errors.md`: the codes of the list, each with its HTTP status and the exit code of the command. */

import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { Output } from '../src/cli/output.js'
import { report } from '../src/cli/report.js'
import { codes, TailraceError } from '../src/error.js'
import { statusOf } from '../src/wire/status.js'
import { tablesOf } from './tidy/markdown.js'
import { readText } from './tidy/tree.js'

const [table] = tablesOf(readText('docs/errors.md'))
const rows = (table?.rows ?? []).map((row) => ({
  code: row['Code']?.replaceAll('`', ''),
  status: Number(row['HTTP']),
  exit: Number(row['Exit']),
  done: row['Done?'] ?? '',
  retry: row['Retry?'] ?? '',
}))

test('docs/errors.md has each code of the list once, in its order, with its status', () => {
  expect(rows.map(({ code, status }) => [code, status])).toEqual(
    codes.map((code) => [code, statusOf(code)]),
  )
})

test('docs/errors.md has the exit code with which the command ends', async () => {
  const stream = () => new Output(new PassThrough().resume(), { colors: false })
  const streams = { stdout: stream(), stderr: stream() }
  const ends = codes.map((code) =>
    report(new TailraceError(code, 'said'), streams, { json: false }),
  )
  expect(rows.map(({ exit }) => exit)).toEqual(await Promise.all(ends))
})

test('docs/errors.md says of each code if a write was done, and if a retry helps', () => {
  const words = { done: ['no', 'unknown'], retry: ['no', 'yes', 'after a change'] }
  const others = rows.filter(
    ({ done, retry }) => !words.done.includes(done) || !words.retry.includes(retry),
  )
  expect(others).toEqual([])
  // rfc/2, rules 6 and 7: these alone leave it open.
  const open = rows.filter(({ done }) => done === 'unknown')
  expect(open.map(({ code }) => code)).toEqual(['EUNKNOWN', 'ECANCELED', 'ETIMEDOUT'])
})
