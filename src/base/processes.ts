/** Lists processes from /proc. Linux; elsewhere nothing is listed. See rfc/11, rfc/13.
 *  Invariant: a process that has ended and only waits to be reaped is listed as `defunct`. */

import { readdirSync, readFileSync } from 'node:fs'

export type ProcessEntry = {
  readonly pid: number
  readonly parent: number
  readonly group: number
  readonly session: number
  readonly defunct: boolean
}

/** All processes that this one can see. */
export function processes(): ProcessEntry[] {
  return pids().flatMap((pid) => processOf(pid) ?? [])
}

/** Children of `pid`, which is alive. Cheap where the kernel lists them (CONFIG_PROC_CHILDREN). */
export function childrenOf(pid: number): number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return list === '' ? [] : list.split(' ').map(Number)
  } catch {
    return processes().flatMap((entry) => (entry.parent === pid ? [entry.pid] : []))
  }
}

/** The variables that the process was started with, each `NAME=VALUE`. Empty where they may not be read. */
export function variablesOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** SIGKILL to all that these looks find, until they find no new ones: a process with a signal that waits for it
 *  cannot fork any more. */
export function killFound(look: () => readonly number[]): void {
  const killed = new Set<number>()
  for (let quiet = 0; quiet < quietLooks; quiet++) {
    for (const pid of look()) {
      if (killed.has(pid)) continue
      killed.add(pid)
      sendSignal(pid, 'SIGKILL')
      quiet = 0
    }
  }
}

/** Descendants of `root` that have not ended, without `root` itself. */
export function descendantsOf(root: number): number[] {
  const children = new Map<number, ProcessEntry[]>()
  for (const entry of processes()) {
    const siblings = children.get(entry.parent)
    if (siblings) siblings.push(entry)
    else children.set(entry.parent, [entry])
  }
  const found: number[] = []
  const below = [root]
  for (const parent of below) {
    for (const { pid, defunct } of children.get(parent) ?? []) {
      below.push(pid)
      if (!defunct) found.push(pid)
    }
  }
  return found
}

/** Ends all that descend from this process with SIGKILL. */
export function killDescendants(): void {
  killFound(() => descendantsOf(process.pid))
}

/** One look reads a table that changes meanwhile: a process may move from its parent to us behind the reader. */
const quietLooks = 2

/** False where there is no such process, or it is not ours to signal. A negative pid is a group; 0 only asks. */
export function sendSignal(pid: number, name: string | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Undefined where there is none. */
export function processOf(pid: number): ProcessEntry | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined // It has gone since it was listed.
  }
  // The command's name stands in brackets and may hold anything: fields are counted behind it.
  const [state, parent, group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    pid,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    defunct: state === 'Z' || state === 'X',
  }
}
