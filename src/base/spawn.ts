/** Children that get what their `stdio` names, and no other descriptor of this process. See rfc/11.
 *  Invariant: what this process hands on to children that it starts in other ways stays as it was. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { isCode } from '../error.js'
import { withoutInheritance } from './posix.js'

/** As `spawn`. LMDB and a careless parent leave descriptors behind that every child would inherit. */
export function spawnAlone(
  program: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const act = () => spawn(program, [...args], options)
  try {
    return withoutInheritance(act)
  } catch (error) {
    // Without the native build no directory can be opened: there is no store file to hand on.
    if (!isCode(error, 'EMISCONFIGURED')) throw error
    return act()
  }
}
