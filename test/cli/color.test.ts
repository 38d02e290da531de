/** Colours: where a person reads, and nowhere else. See rfc/13. */

import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hasColors, Output } from '../../src/cli/output.js'
import { report } from '../../src/cli/report.js'
import { TailraceError } from '../../src/error.js'
import { Sandbox } from './harness.js'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await Sandbox.make()
})
afterAll(() => sandbox.remove())

const esc = '\x1b'

describe('hasColors()', () => {
  it.each([
    ['on a terminal', [], {}, true, true],
    ['in a pipe', [], {}, false, false],
    ['on a dumb terminal', [], { TERM: 'dumb' }, true, false],
    ['with NO_COLOR', [], { NO_COLOR: '1' }, true, false],
    ['with an empty NO_COLOR', [], { NO_COLOR: '' }, true, true],
    ['with FORCE_COLOR', [], { FORCE_COLOR: '1' }, false, true],
    ['with FORCE_COLOR=0', [], { FORCE_COLOR: '0' }, true, false],
    ['with both', [], { FORCE_COLOR: '1', NO_COLOR: '1' }, true, false],
    ['with --color always', ['--color', 'always', 'ls'], { NO_COLOR: '1' }, false, true],
    ['with --color=never', ['--color=never', 'ls'], { FORCE_COLOR: '1' }, true, false],
    ['with --color auto', ['--color', 'auto', 'ls'], {}, true, true],
    ['with --color of a job', ['run', '--color', 'always'], {}, false, false],
  ])('%s', (_, argv, environment, isTerminal, expected) => {
    expect(hasColors(argv, environment, isTerminal)).toBe(expected)
  })
})

it('--color always paints headings of the help, and auto in a pipe does not', async () => {
  expect(await sandbox.ok(['--color', 'always', '--help'])).toContain(`${esc}[1mKeys:${esc}`)
  expect(await sandbox.ok(['--color', 'always', 'put', '--help'])).toContain(
    `${esc}[1mExamples:${esc}`,
  )
  const env = { FORCE_COLOR: '', NO_COLOR: '' }
  expect(await sandbox.ok(['--help'], { env })).not.toContain(esc)
  expect((await sandbox.call(['--color', 'sometimes', 'ls'])).code).toBe(2)
})

it('an error has a red code, what others wrote is escaped, and JSON is plain', async () => {
  let written = ''
  const outputOf = () =>
    new Output(
      new Writable({
        write: (chunk, _, done) => {
          written += chunk
          done()
        },
      }),
      { colors: true },
    )
  const streams = { stdout: outputOf(), stderr: outputOf() }
  const error = new TailraceError('ENOENT', `no ${esc}[2J`)
  await report(error, streams, { json: false })
  expect(written).toBe(`tailrace: ${esc}[31mENOENT${esc}[39m: no \\x1b[2J\n`)
  written = ''
  await report(error, streams, { json: true })
  expect(written).not.toContain(esc)
})
