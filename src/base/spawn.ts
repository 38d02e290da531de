/** Starts children that get the descriptors that their `stdio` names, and no other of this process.
 *  See rfc/11.
 *  Invariant: children that this process starts in other ways inherit
 *  what they inherited before. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { isCode } from '../error.js'
import { withoutInheritance } from './posix.js'
import { childrenOf } from './processes.js'

/** The children that were started here and have not ended. */
const started = new Set<number>()

/** Starts a child as `spawn` of Node does, but without the other inheritable descriptors of this
 *  process: LMDB opens such ones, and the parent of this process may have left some. */
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
    // Without the native build no directory can be opened, so there is no store file to hand on.
    if (!isCode(error, 'EMISCONFIGURED')) throw error
    return act()
  }
}

/** Returns the children of this process that `spawnAlone` did not start: orphans that came to it
 *  because it is a subreaper or process 1, and children that other code of this process started. */
export function foreignChildren(): number[] {
  return childrenOf(process.pid).filter((pid) => !started.has(pid))
}
