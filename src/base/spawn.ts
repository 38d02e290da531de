/** Children that get what their `stdio` names, and no other descriptor of this process. See rfc/11.
 *  Invariant: what this process hands on to children that it starts in other ways stays as it was. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { isCode } from '../error.js'
import { withoutInheritance } from './posix.js'
import { childrenOf } from './processes.js'

/** The children that were started here and have not ended. */
const started = new Set<number>()

/** As `spawn`. LMDB and a careless parent leave descriptors behind that every child would inherit. */
export function spawnAlone(
  program: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const act = () => {
    const child = spawn(program, [...args], options)
    const { pid } = child
    if (pid === undefined) return child
    started.add(pid)
    return child.once('exit', () => started.delete(pid))
  }
  try {
    return withoutInheritance(act)
  } catch (error) {
    // Without the native build no directory can be opened: there is no store file to hand on.
    if (!isCode(error, 'EMISCONFIGURED')) throw error
    return act()
  }
}

/** Children of this process that `spawnAlone` did not start: those that fell to it when their parents ended (it is a
 *  subreaper, or process 1), or that somebody else in this process started. */
export function strangers(): number[] {
  return childrenOf(process.pid).filter((pid) => !started.has(pid))
}
