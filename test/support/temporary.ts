/** Where the tests of a file keep their data: in memory where a file system there has room, since half of their time
 *  was spent on waiting for the disk; on the disk in the rooms that are about it. What survives a killed process is the
 *  same in both. `TMPDIR` says another place for all. */

import { statfsSync } from 'node:fs'
import { expect } from 'vitest'

/** The rooms whose tests are about disks and what they keep. */
const onDisk = /\/test\/(base|content|engine|journal|proof)\//

/** The place of a file system in memory, and the room that it needs for the largest tests, in bytes. */
const memory = '/dev/shm'
const roomMin = 4 * 1024 ** 3

/** The variable, as the program that runs the tests was given it. */
const said = 'TAILRACE_TEST_TMPDIR'

function hasRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize >= roomMin
  } catch {
    return false
  }
}

const given = process.env[said] ?? process.env['TMPDIR'] ?? ''
process.env[said] = given
const { testPath = '' } = expect.getState()
if (given !== '') process.env['TMPDIR'] = given
else if (onDisk.test(testPath) || !hasRoom(memory)) delete process.env['TMPDIR']
else process.env['TMPDIR'] = memory
