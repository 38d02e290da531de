/** The checks of `tailrace doctor`: their form, their subject and their findings. See rfc/30, rules 13 to 15.
 *  Invariant: a check changes nothing. */

import type { ServerRecord } from '../local/directory.js'
import type { Variables } from './command.js'
import type { Configuration } from './configuration.js'
import type { ServerChecks } from './configuration-check.js'

/** One finding of a check. What is not ok has an advice. */
export type Diagnosis =
  | { readonly level: 'ok'; readonly text: string }
  | { readonly level: 'warn' | 'FAIL'; readonly text: string; readonly advice: string }

/** The subject of all checks: a directory, and the machine that it is on. */
export type Examined = {
  readonly environment: Variables
  /** The absolute path of the data directory. */
  readonly directory: string
  /** True if the directory is there. */
  readonly isThere: boolean
  /** The directory, or where it is missing the nearest one above that is there. */
  readonly existing: string
  /** The configuration of a server for the directory, or the mistakes in it. */
  readonly configuration: Configuration | { readonly problems: readonly string[] }
  readonly serverChecks: Pick<ServerChecks, 'checkListen' | 'checkSocket'>
  /** The server that runs on the directory. */
  readonly server: ServerRecord | undefined
  /** The time now, in ms since 1970. */
  readonly now: number
}

/** One check. A check that throws has found a failure. */
export type DoctorCheck = {
  readonly name: string
  readonly look: (examined: Examined) => Promise<readonly Diagnosis[]> | readonly Diagnosis[]
}

export function ok(text: string): readonly Diagnosis[] {
  return [{ level: 'ok', text }]
}

export function warn(text: string, advice: string): readonly Diagnosis[] {
  return [{ level: 'warn', text, advice }]
}

export function fail(text: string, advice: string): readonly Diagnosis[] {
  return [{ level: 'FAIL', text, advice }]
}
