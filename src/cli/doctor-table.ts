/** The checks of `tailrace doctor`, one entry each, and what they look at. See rfc/30, rules 13 to 15.
 *  Invariant: no server is started, no store is opened, and nothing is changed. A check that fails or
 *  hangs keeps no other from its line. */

import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { joinAbort } from '../base/abort.js'
import { hasSystemCode, reasonOf } from '../error.js'
import type { ParsedArguments, Variables } from './command.js'
import { type Configuration, readConfiguration } from './configuration.js'
import type { Diagnosis, DoctorCheck, Examined } from './doctor-check.js'
import {
  lookAtClock,
  lookAtDirectory,
  lookAtFileSystem,
  lookAtLog,
  lookAtSpace,
  lookAtSyncs,
} from './doctor-directory.js'
import {
  lookAtContainer,
  lookAtInotify,
  lookAtMemory,
  lookAtNativeParts,
  lookAtNode,
  lookAtOpenFiles,
  lookAtPlatform,
} from './doctor-machine.js'
import {
  livingServer,
  lookAtCertificate,
  lookAtConfiguration,
  lookAtHealth,
  lookAtRecord,
  lookAtStoreFiles,
  problemsOf,
} from './doctor-server.js'
import { dataDirectory } from './session.js'

/** The time that a check may take, in ms: a file system may hang. */
const checkMs = 15_000

/** All checks, in the order of the lines. */
export const checks: readonly DoctorCheck[] = [
  { name: 'node', look: lookAtNode },
  { name: 'platform', look: lookAtPlatform },
  { name: 'native', look: lookAtNativeParts },
  { name: 'container', look: lookAtContainer },
  { name: 'files', look: lookAtOpenFiles },
  { name: 'memory', look: lookAtMemory },
  { name: 'directory', look: lookAtDirectory },
  { name: 'filesystem', look: lookAtFileSystem },
  { name: 'space', look: lookAtSpace },
  { name: 'sync', look: lookAtSyncs },
  { name: 'clock', look: lookAtClock },
  { name: 'log', look: lookAtLog },
  { name: 'config', look: lookAtConfiguration },
  { name: 'certificate', look: lookAtCertificate },
  { name: 'inotify', look: lookAtInotify },
  { name: 'store', look: lookAtStoreFiles },
  { name: 'server', look: lookAtRecord },
  { name: 'health', look: lookAtHealth },
]

/** Gathers what the checks look at. */
export async function examine(
  options: ParsedArguments['options'],
  environment: Variables,
  serverChecks: Examined['serverChecks'],
): Promise<Examined> {
  const configuration = await readConfiguration({
    ...{ environment, isBackground: false },
    given: { data: options['data'], config: options['config'] },
  }).catch((error: unknown): Examined['configuration'] => {
    const problems = problemsOf(error)
    if (problems) return { problems }
    throw error
  })
  const isRead = (one: Examined['configuration']): one is Configuration => 'directory' in one
  const directory = isRead(configuration)
    ? configuration.directory
    : dataDirectory(typeof options['data'] === 'string' ? options['data'] : undefined, environment)
  const existing = await nearestThere(directory)
  return {
    ...{ environment, directory, configuration, serverChecks },
    ...{ existing, isThere: existing === directory },
    server: await livingServer(directory).catch(() => undefined), // the check of the record says why
    now: Date.now(),
  }
}

/** Returns a path, or the nearest directory above it that is there. */
async function nearestThere(path: string): Promise<string> {
  for (let there = path; ; there = dirname(there)) {
    try {
      await stat(there)
      return there
    } catch (error) {
      const isMissing = hasSystemCode(error, 'ENOENT') || hasSystemCode(error, 'ENOTDIR')
      if (!isMissing || dirname(there) === there) return there
    }
  }
}

/** Runs a check, within its time. Never throws. */
export async function diagnosesOf(
  check: DoctorCheck,
  examined: Examined,
  timeoutMs = checkMs,
): Promise<readonly Diagnosis[]> {
  const deadline = AbortSignal.timeout(timeoutMs)
  try {
    return await joinAbort(Promise.resolve(check.look(examined)), deadline)
  } catch (error) {
    const text = deadline.aborted ? `it took longer than ${timeoutMs} ms` : reasonOf(error)
    return [{ level: 'FAIL', text, advice: `look at ${examined.directory} and its disk` }]
  }
}
