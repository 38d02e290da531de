/** Ends a process group, and removes its directory, when this process is killed: a process of its own waits
 *  for that. See rfc/24, rule 34.
 *  Invariant: a guard ends when it is disposed of, or when this process has gone; it never outlives both. */

import type { Writable } from 'node:stream'
import { spawnAlone } from '../base/spawn.js'

/** Reads the id of a group, and a line that says that all is well. If its writer is gone before that, it
 *  kills the group and removes the directory. (The `kill` of dash takes no `--`. A process that is being
 *  killed may still make a file: then the first removal fails.) */
const script =
  'read -r group && read -r line && exit; ' +
  '[ -z "$group" ] || kill -9 "-$group"; rm -rf "$1" || rm -rf "$1"'

/** The guard of one process group. It is made before the group, so that to tell it the group is all that
 *  is left to do once that is there. Where there is no `sh`, nothing is guarded. */
export class GroupGuard implements Disposable {
  readonly #stdin: Writable | null

  constructor(directory: string) {
    const guard = spawnAlone('/bin/sh', ['-c', script, 'sh', directory], {
      // A session of its own: what a terminal sends to this process is not for it.
      ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
    })
    guard.on('error', () => {})
    guard.unref()
    this.#stdin = guard.stdin
    this.#stdin?.on('error', () => {})
  }

  /** Lets the group get SIGKILL, and its directory be removed, if this process is gone before the guard is
   *  disposed of, even by SIGKILL. */
  guard(group: number): void {
    this.#stdin?.write(`${group}\n`)
  }

  [Symbol.dispose](): void {
    this.#stdin?.end('\n')
  }
}
