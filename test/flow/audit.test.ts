/** Audits of commands: which files they read that are no inputs. See rfc/24, rule 37. */

import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { unknownReads } from '../../src/flow/audit.js'
import { command, directory as directoryOf, file, run } from '../../src/flow/flow.js'
import { needStrace } from '../proof/strace.js'

let directory: string
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'tailrace-audit-test-')))
})
afterEach(() => rm(directory, { recursive: true }))

/** The events of a run of a command: what was told of files, and how it ended. */
async function audited(script: string, more = {}) {
  const target = command('read', { run: ['sh', '-c', script], env: { D: directory }, ...more })
  const files: string[] = []
  const flow = run(target, { audit: true })
  for await (const event of flow) if (event.type === 'audit') files.push(...event.files)
  const ended = await flow.result.then(
    (value) => Buffer.from(value).toString(),
    ({ code }) => code,
  )
  return { ended, files: files.map((path) => path.replace(directory, 'D')) }
}

it('names files that were read, and none that are known or made', async (context) => {
  needStrace(context, 'an audit')
  await mkdir(join(directory, 'known'))
  for (const name of ['a b', 'declared', 'known/in', 'out', 'program']) {
    await writeFile(join(directory, name), `${name}\n`, { mode: 0o755 })
  }
  await writeFile(join(directory, 'program'), '#!/bin/sh\ncat in\n', { mode: 0o755 })
  const inputs = { in: file(join(directory, 'declared')), d: directoryOf(join(directory, 'known')) }
  const script = [
    'cat in "$D/declared" "$D/known/in" /etc/passwd > /dev/null',
    'echo 1 > "$D/out"; echo 2 > "$D/made"; cat "$D/made" > /dev/null; cat "$D/none"',
    'cd /; cat "$D/a b"; cd - > /dev/null; "$D/program"',
  ].join('; ')
  expect(await audited(script, { in: inputs })).toEqual({
    ended: 'a b\ndeclared\n',
    files: ['D/a b', 'D/program'],
  })
})

it('tells also of a command that fails, with its exit code', async (context) => {
  needStrace(context, 'an audit')
  await writeFile(join(directory, 'a'), '')
  expect(await audited('cat "$D/a"; exit 3')).toEqual({ ended: 'EIO', files: ['D/a'] })
})

it('needs strace, and says so', async () => {
  const path = process.env['PATH']
  process.env['PATH'] = directory
  try {
    expect(await audited('true')).toEqual({ ended: 'EMISCONFIGURED', files: [] })
  } finally {
    process.env['PATH'] = path
  }
})

it('reads lines of a trace: escapes, flags, and what is known by a directory', () => {
  const trace = [
    String.raw`openat(AT_FDCWD</w>, "x", O_RDONLY|O_CLOEXEC) = 3</home/\303\274 \"x\">`,
    'openat(AT_FDCWD</w>, "x", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</home/written>',
    'openat(AT_FDCWD</w>, "x", O_RDWR|O_CREAT, 0666) = 3</home/made>',
    'openat(AT_FDCWD</w>, "x", O_RDWR) = 3</home/changed>',
    'open("/in/a", O_RDONLY) = 3</in/a>',
    'open("/input", O_RDONLY) = 3</input>',
    'open("/work", O_RDONLY|O_DIRECTORY) = 3</work>',
    'open("/usrx", O_RDONLY) = 3</usrx>',
    'open("pipe", O_RDONLY) = 3<pipe:[1]>',
    'execve("/home/tool", ["tool"], 0x1 /* 2 vars */) = 0',
    'execve("./own", ["own"], 0x1 /* 2 vars */) = 0',
    '+++ exited with 0 +++',
  ].join('\n')
  expect(unknownReads(trace, { directory: '/work', inputs: ['/in/'] })).toEqual(
    ['/home/changed', '/home/tool', '/home/ü "x"', '/input', '/usrx'].sort(),
  )
})
