/** How errors are said: where, on a line of their own, and with which exit code. */

import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { UsageError } from '../../src/cli/command.js'
import { BrokenPipe, Output } from '../../src/cli/output.js'
import { report } from '../../src/cli/report.js'
import { codes, TailraceError } from '../../src/error.js'
import { exitCode } from '../support/sandbox.js'

function outputOf(isTTY: boolean): { readonly output: Output; readonly text: () => string } {
  const pieces: Buffer[] = []
  const stream = new Writable({
    write: (chunk, _, done) => {
      pieces.push(chunk)
      done()
    },
  })
  const output = new Output(Object.assign(stream, { isTTY }))
  return { output, text: () => Buffer.concat(pieces).toString() }
}

async function reported(error: unknown, options: { isTTY?: boolean; json?: boolean } = {}) {
  const { isTTY = false, json = false } = options
  const [stdout, stderr] = [outputOf(isTTY), outputOf(isTTY)]
  await stdout.output.write('begun')
  const code = await report(error, { stdout: stdout.output, stderr: stderr.output }, { json })
  return { code, stdout: stdout.text(), stderr: stderr.text() }
}

it.each(codes)('%s has the exit code of rfc/13', async (code) => {
  expect(await reported(new TailraceError(code, 'x\ny'))).toEqual({
    code: exitCode(code),
    stdout: 'begun',
    stderr: `tailrace: ${code}: ${code === 'EUNAUTH' ? 'x\\ny; set TAILRACE_TOKEN to what "tailrace token" prints where the server runs' : 'x\\ny'}\n`,
  })
})

it('a wrong command line ends with 2, a reader that has gone with 0, and a bug with 1', async () => {
  expect(await reported(new UsageError('no'))).toMatchObject({
    code: 2,
    stderr: 'tailrace: EINVAL: no\n',
  })
  expect(await reported(new BrokenPipe())).toMatchObject({ code: 0, stderr: '' })
  expect(await reported(new Error('bug'))).toMatchObject({
    code: 1,
    stderr: 'tailrace: EIO: bug\n',
  })
})

it('JSON stands on a line of its own, and on a terminal text does, too', async () => {
  const error = new TailraceError('ENOENT', 'nothing')
  expect(await reported(error, { json: true })).toEqual({
    code: 3,
    stdout: 'begun\n{"error":{"code":"ENOENT","message":"nothing"}}\n',
    stderr: '',
  })
  expect(await reported(error, { isTTY: true })).toEqual({
    code: 3,
    stdout: 'begun\n',
    stderr: 'tailrace: ENOENT: nothing\n',
  })
})
