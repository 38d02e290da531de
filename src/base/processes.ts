/** Lists processes from /proc, tells a process from a later one with the same pid, sends signals, and
 *  lowers the priority of sessions. Linux only; elsewhere the lists are empty and no process is taken
 *  for another. See rfc/11, rfc/13.
 *  Invariant: a process that has ended and only waits to be reaped is listed as `defunct`. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hasSystemCode } from '../error.js'

type ProcessEntry = {
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

/** Returns the children of a process that is alive. Cheap where the kernel lists them
 *  (CONFIG_PROC_CHILDREN). */
export function childrenOf(pid: number): number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return list === '' ? [] : list.split(' ').map(Number)
  } catch {
    return processes().flatMap((entry) => (entry.parent === pid ? [entry.pid] : []))
  }
}

/** Returns the environment variables that a process was started with, each as `NAME=VALUE`; none
 *  where they may not be read. */
export function variablesOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** Sends SIGKILL to all processes that `look` finds, and looks again until it finds no new ones. A
 *  process that has a pending SIGKILL cannot fork any more. */
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

/** Returns the descendants of `root` that have not ended, without `root` itself. */
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

/** Ends all descendants of this process with SIGKILL. */
export function killDescendants(): void {
  killFound(() => descendantsOf(process.pid))
}

/** Looks in a row that must find nothing new. One look is not enough: the table changes while it is
 *  read, and a process whose parent ends may become our child after our children were read. */
const quietLooks = 2

/** Sends a signal to a process, or to a group if `pid` is negative; the signal 0 only checks. False
 *  if there is no such process, or if it may not be signalled. */
export function sendSignal(pid: number, name: string | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

/** The highest niceness of Linux. */
const niceMax = 19

/** Lets a session yield by so many levels of niceness to the session of this process, where both want
 *  the processor: Linux shares it out between sessions first (autogroup(7)), so that the niceness of
 *  processes counts within a session only. Returns false where the system asks to do it later, as it
 *  does of ordinary users within 100 ms of the last time; true if it was done, or cannot be done here.
 *  REQUIRES: `pid` leads that session. */
export function lowerSession(pid: number, levels: number): boolean {
  const own = /nice (-?[0-9]+)/.exec(read('/proc/self/autogroup') ?? '')?.[1]
  if (own === undefined) return true
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(Math.min(niceMax, Number(own) + levels)))
    return true
  } catch (error) {
    return !hasSystemCode(error, 'EAGAIN')
  }
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Returns the entry of one process; undefined where there is no such process. */
export function processOf(pid: number): ProcessEntry | undefined {
  const fields = statFieldsOf(pid)
  if (!fields) return undefined
  const [state, parent, group, session] = fields
  return {
    pid,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    defunct: isDefunctState(state),
  }
}

/** Returns the start of a process as `BOOTID.TICKS`: the boot, and the clock ticks since then.
 *  Undefined where there is no such process, or no /proc. A process that has ended but was not
 *  reaped still has it. */
export function processStart(pid: number): string | undefined {
  const ticks = statFieldsOf(pid)?.[19]
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim()
  return ticks === undefined || boot === undefined ? undefined : `${boot}.${ticks}`
}

/** True if the process has ended and only waits to be reaped: it has no open file any more. */
export function isDefunct(pid: number): boolean {
  return isDefunctState(statFieldsOf(pid)?.[0])
}

/** True for a `state` of proc(5) that says that the process has ended. */
export function isDefunctState(state: string | undefined): boolean {
  return state === 'Z' || state === 'X'
}

/** Returns the fields of /proc/PID/stat (proc(5)) from the third on, which is `state`; undefined
 *  where there is no such process. */
export function statFieldsOf(pid: number): string[] | undefined {
  // The second field is the command's name in brackets, and may hold any character.
  const stat = read(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
