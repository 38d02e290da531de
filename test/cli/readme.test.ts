/** The tour of the README as printed, but for what needs curl or the network. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Sandbox } from './harness.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

let sandbox: Sandbox
beforeEach(async () => {
  sandbox = await Sandbox.make()
})
afterEach(() => sandbox.remove())

it('every command of the tour does what its comment says', { timeout: 120_000 }, async () => {
  const readme = await readFile(`${root}/README.md`, 'utf8')
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1] ?? '')
  const tour = blocks.filter((block) => !/^(curl|npm|npx) /m.test(block))
  expect(tour.length).toBeGreaterThan(6)
  const script = ['shopt -s expand_aliases', ...tour]
    .join('\n')
    .replace('$(mktemp -d)', sandbox.data)
    .replaceAll('change.json', `${sandbox.directory}/change.json`)
    .replaceAll('backup.tailrace', `${sandbox.directory}/backup.tailrace`)
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', script], { cwd: root })
  const said = stderr.split('\n').filter((line) => line.startsWith('tailrace: '))
  expect(said).toEqual([expect.stringMatching(/^tailrace: ECONFLICT: /)])
  for (const part of [
    /^hellorfc\//m, // get greeting, then the names in the archive
    /^backup\nbackup\/rfc.tar\ngreeting$/m,
    /compiling\nbase\n/, // the watch
    /^whole: primary at \d+ /m, // verify
    /\nhello.*\nclean: \d+ namespaces/s, // what was imported, then fsck
    /"index":0,"count":1,"repeated":true/, // the append that was sent again
    /^one at a time\nheld [0-9a-f]{32}:\d+ /m,
    /^out$/m,
    /^exit code 3$/m,
    /"name":"finish","context":\{"status":0\}/,
    /^0 compiling\n1 base$/m, // the client
    /^1 visits; the newest job: \[ 'sh', '-c',/m, // embedded
  ]) {
    expect(stdout).toMatch(part)
  }
})
