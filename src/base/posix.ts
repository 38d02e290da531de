/** The system calls that Node lacks, through koffi. The only import of koffi. See rfc/4, rfc/11.
 *  Invariant: no call here blocks. The library is loaded at the first call, so that a program that
 *  never opens a directory never needs it. The constants below are the same on Linux, macOS and the
 *  BSDs, unless their comment says otherwise. */

import {
  closeSync,
  constants as files,
  fstatSync,
  openSync,
  readdirSync,
  type Stats,
  statSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { constants, endianness } from 'node:os'
import { join } from 'node:path'
import type { KoffiFunc } from 'koffi'
import { TailraceError } from '../error.js'
import { deferred } from './deferred.js'

/** <sys/file.h> */
const LOCK_EX = 2
const LOCK_NB = 4
/** <fcntl.h> */
const F_DUPFD = 0
const F_GETFD = 1
const F_SETFD = 2
const F_GETFL = 3
const FD_CLOEXEC = 1
/** <linux/fcntl.h> */
const F_SETPIPE_SZ = 1031
/** <sys/wait.h> */
const WNOHANG = 1
/** <sys/prctl.h>, Linux only. */
const PR_SET_CHILD_SUBREAPER = 36
/** <malloc.h> of the GNU C library. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
/** The largest free memory at the top of the heap that the C library keeps, in bytes. */
const trimThreshold = 1024 * 1024
/** The smallest piece of memory, in bytes, with pages of its own, which go back to the
 *  system when it is freed. */
const mmapThreshold = 256 * 1024
/** <asm-generic/ioctls.h>: Linux on x86, ARM, RISC-V and s390. */
const TIOCSWINSZ = 0x5414
/** <linux/falloc.h> */
const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
/** <linux/fs.h> */
const RWF_NOWAIT = 8
/** <asm-generic/socket.h>: Linux on x86, ARM, RISC-V and s390. */
const SOL_SOCKET = 1
const SO_ACCEPTCONN = 30
const SO_DOMAIN = 39
/** <sys/socket.h> of Linux */
const AF_UNIX = 1
const AF_INET = 2
const AF_INET6 = 10
/** <poll.h> */
const POLLIN = 1
const isLittleEndian = endianness() === 'LE'
/** The largest size of a terminal's path, in bytes. */
const terminalPathMax = 128
/** <linux/fs.h>, on the machines that build it from `_IOR('v', 1, long)` with 64 bits. */
const FS_IOC_GETVERSION = 0x8008_7601
const generationMachines: ReadonlySet<string> = new Set(['x64', 'arm64', 'riscv64', 'loong64'])

type Calls = {
  readonly flock: KoffiFunc<(descriptor: number, operation: number) => number>
  readonly dup2: KoffiFunc<(descriptor: number, replaced: number) => number>
  readonly fcntl: KoffiFunc<(descriptor: number, command: number, ...rest: unknown[]) => number>
  readonly waitpid: KoffiFunc<(pid: number, status: null, options: number) => number>
  /** A call of Linux; undefined elsewhere. */
  readonly prctl: KoffiFunc<(option: number, ...rest: number[]) => number> | undefined
  readonly ioctl: KoffiFunc<(descriptor: number, request: number, ...rest: unknown[]) => number>
  readonly pipe: KoffiFunc<(descriptors: Int32Array) => number>
  readonly poll: KoffiFunc<(polled: Int32Array, count: number, timeoutMs: number) => number>
  /** A call of Linux; undefined elsewhere. */
  readonly fallocate:
    | KoffiFunc<(descriptor: number, mode: number, offset: number, length: number) => number>
    | undefined
  /** A call of Linux; undefined elsewhere. The pieces are pairs of an address and a size. */
  readonly preadv2:
    | KoffiFunc<
        (
          descriptor: number,
          pieces: BigUint64Array,
          count: number,
          offset: number,
          flags: number,
        ) => number
      >
    | undefined
  readonly getsockopt: KoffiFunc<
    (
      descriptor: number,
      level: number,
      name: number,
      value: Int32Array,
      size: Uint32Array,
    ) => number
  >
  readonly addressOf: (bytes: Uint8Array) => bigint
  /** Calls of the GNU C library; undefined with another one. */
  readonly malloc: MallocCalls | undefined
  readonly terminal: TerminalCalls | undefined
  readonly errno: () => number
}

/** The calls that only the GNU C library has. */
type MallocCalls = {
  readonly mallopt: KoffiFunc<(parameter: number, value: number) => number>
  readonly malloc_trim: KoffiFunc<(kept: number) => number>
}

/** The calls that make a terminal, on Linux only. Other systems have other numbers, and no `setsid`
 *  to give a child its terminal. */
type TerminalCalls = {
  readonly unlockpt: KoffiFunc<(descriptor: number) => number>
  readonly ptsname: KoffiFunc<(descriptor: number, path: Uint8Array, size: number) => number>
}

/** Loads the library once, when it is first needed. */
class Library {
  #calls: Calls | undefined

  get calls(): Calls {
    this.#calls ??= load()
    return this.#calls
  }
}

const library = new Library()

/** Takes the exclusive lock of an open file (flock(2)). False if another open file holds it, in any
 *  process, container or pid namespace. The lock ends when the last copy of the descriptor is
 *  closed, so also by kill -9. Throws EMISCONFIGURED (no native build), EIO (a file system without
 *  locks; the message has the system's name of the error). */
export function tryLock(descriptor: number): boolean {
  const { flock, errno } = library.calls
  if (flock(descriptor, LOCK_EX | LOCK_NB) === 0) return true
  const error = errno()
  const { EWOULDBLOCK, EAGAIN } = constants.errno
  if (error === EWOULDBLOCK || error === EAGAIN) return false
  throw new TailraceError('EIO', `flock failed: ${errnoName(error)}`)
}

/** Marks the open descriptors of a directory's files so that no child inherits them. Throws
 *  EMISCONFIGURED (no native build). */
export function closeFilesOnExec(directory: string): void {
  const files = new Set(
    readdirSync(directory).map((name) => fileId(() => statSync(join(directory, name)))),
  )
  for (const descriptor of inheritedDescriptors()) {
    const id = fileId(() => fstatSync(descriptor))
    if (id !== undefined && files.has(id)) closeOnExec(descriptor)
  }
}

/** Calls `act`, which starts a child that inherits the descriptors 0, 1 and 2 and those that its
 *  `stdio` names, and no others. Later children inherit as before. REQUIRES: `act` is synchronous.
 *  Throws EMISCONFIGURED (no native build) before `act` is called, and what `act` throws. */
export function withoutInheritance<T>(act: () => T): T {
  const { fcntl } = library.calls
  const descriptors = inheritedDescriptors()
  for (const descriptor of descriptors) closeOnExec(descriptor)
  try {
    return act()
  } finally {
    for (const descriptor of descriptors) {
      const flags: number = fcntl(descriptor, F_GETFD, 'int', 0)
      if (flags >= 0) fcntl(descriptor, F_SETFD, 'int', flags & ~FD_CLOEXEC)
    }
  }
}

function inheritedDescriptors(): number[] {
  return openDescriptors().filter((descriptor) => descriptor > 2 && isInherited(descriptor))
}

function closeOnExec(descriptor: number): void {
  const { fcntl } = library.calls
  const flags: number = fcntl(descriptor, F_GETFD, 'int', 0)
  // Below 0: the descriptor was closed after it was listed.
  if (flags >= 0) fcntl(descriptor, F_SETFD, 'int', flags | FD_CLOEXEC)
}

/** Makes the descriptor `replaced` name the same open file as `descriptor` (dup2(2)). The file that
 *  it named before is closed in the same step. Throws EMISCONFIGURED (no native build), EIO. */
export function replaceDescriptor(replaced: number, descriptor: number): void {
  const { dup2, errno } = library.calls
  if (dup2(descriptor, replaced) >= 0) return
  throw new TailraceError('EIO', `dup2 failed: ${errnoName(errno())}`)
}

/** Returns a new descriptor of an open file, which no child inherits. The caller closes it. Throws
 *  EMISCONFIGURED (no native build), EIO. */
export function duplicateDescriptor(descriptor: number): number {
  const { fcntl, errno } = library.calls
  const duplicate: number = fcntl(descriptor, F_DUPFD, 'int', 3)
  if (duplicate < 0) throw new TailraceError('EIO', `fcntl failed: ${errnoName(errno())}`)
  closeOnExec(duplicate)
  return duplicate
}

/** Returns a name for a file that does not depend on its path; undefined where it is gone. */
function fileId(read: () => Stats): string | undefined {
  try {
    const { dev, ino } = read()
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}

/** Makes this process a subreaper: from now on it, not process 1, becomes the parent of its
 *  descendants whose parents end. False where the system has no subreapers (all but Linux). Throws
 *  EMISCONFIGURED (no native build). */
export function becomeSubreaper(): boolean {
  return library.calls.prctl?.(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) === 0
}

/** Makes the C library give large pieces of memory back to the system when they are freed. By
 *  default the GNU C library keeps pieces of the size of the largest one that was freed so far (at
 *  most 32 MiB), in holes that nothing else fits into, and up to 64 MiB at the top of the heap.
 *  False with another C library. Throws EMISCONFIGURED (no native build). */
export function giveBackLargePieces(): boolean {
  const { malloc } = library.calls
  return (
    malloc !== undefined &&
    malloc.mallopt(M_MMAP_THRESHOLD, mmapThreshold) === 1 &&
    malloc.mallopt(M_TRIM_THRESHOLD, trimThreshold) === 1
  )
}

/** Gives all pages that hold only freed pieces of memory back to the system, on a thread of
 *  libuv's pool: 1 to 14 ms where 60 to 300 MB are in use. By itself the GNU C library gives
 *  back only what is at the end of its heap. Resolves to false with another C library. Throws
 *  EMISCONFIGURED (no native build). */
export async function giveBackFreedMemory(): Promise<boolean> {
  const { malloc } = library.calls
  if (!malloc) return false
  const done = deferred<void>()
  malloc.malloc_trim.async(0, () => done.resolve())
  await done.promise
  return true
}

/** Gives a range of an open file back to the disk: it takes no space from then on, and reads as
 *  zeros; the file stays as long as it is. Runs on a thread of libuv's pool. Resolves to false where
 *  the system or the file system cannot. Throws EMISCONFIGURED (no native build). */
export async function punchHole(
  descriptor: number,
  offset: number,
  length: number,
): Promise<boolean> {
  const { fallocate } = library.calls
  if (!fallocate) return false
  const done = deferred<boolean>()
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
  fallocate.async(descriptor, mode, offset, length, (error: unknown, answer: number) => {
    done.resolve(!error && answer === 0)
  })
  return done.promise
}

/** The one piece that `readCached` reads. */
const piece = new BigUint64Array(2)

/** Fills `bytes` from an open file, from `offset` on, if the system has all of them in its cache: 1 µs
 *  for some 100 bytes. False where it would have to wait for the disk, where the file ends before,
 *  or where the system or the file system cannot tell; `bytes` then have any content. Throws
 *  EMISCONFIGURED (no native build). */
export function readCached(descriptor: number, bytes: Uint8Array, offset: number): boolean {
  const { preadv2, addressOf } = library.calls
  if (!preadv2) return false
  piece[0] = addressOf(bytes)
  piece[1] = BigInt(bytes.length)
  return preadv2(descriptor, piece, 1, offset, RWF_NOWAIT) === bytes.length
}

/** Reaps a child that has ended, so that its pid is free. False if there is no such child.
 *  REQUIRES: Node did not start it. Throws EMISCONFIGURED (no native build). */
export function reap(pid: number): boolean {
  return library.calls.waitpid(pid, null, WNOHANG) === pid
}

/** Both ends of a new terminal. The caller closes them. */
export type TerminalEnds = { readonly master: number; readonly slave: number }

/** Opens a new terminal, which no process has as its controlling terminal yet. Undefined on all
 *  systems but Linux. Throws EMISCONFIGURED (no native build), EIO, and what node:fs throws. */
export function openTerminal(size: TerminalSize): TerminalEnds | undefined {
  const calls = library.calls.terminal
  if (!calls) return undefined
  const flags = files.O_RDWR | files.O_NOCTTY
  const master = openSync('/dev/ptmx', flags)
  try {
    const path = Buffer.alloc(terminalPathMax)
    const failed = calls.unlockpt(master) !== 0 || calls.ptsname(master, path, path.length) !== 0
    if (failed) throw new TailraceError('EIO', `no terminal: ${errnoName(library.calls.errno())}`)
    resizeTerminal(master, size)
    return { master, slave: openSync(path.toString('utf8', 0, path.indexOf(0)), flags) }
  } catch (error) {
    closeSync(master)
    throw error
  }
}

/** True if a read of this end would return something at once. */
export function isReadable(master: number): boolean {
  // A pollfd is an int and two shorts: the descriptor, the requested events, the returned events.
  const polled = new Int32Array(2)
  const view = new DataView(polled.buffer)
  view.setInt32(0, master, isLittleEndian)
  view.setInt16(4, POLLIN, isLittleEndian)
  library.calls.poll(polled, 1, 0)
  return (view.getInt16(6, isLittleEndian) & POLLIN) !== 0
}

/** The size of a terminal in characters, each 0 to 65,535. */
export type TerminalSize = { readonly columns: number; readonly rows: number }

/** Sets the size of a terminal. The system sends SIGWINCH to the foreground group if it changes. */
export function resizeTerminal(master: number, { columns, rows }: TerminalSize): void {
  library.calls.ioctl(master, TIOCSWINSZ, 'void *', Uint16Array.of(rows, columns, 0, 0))
}

/** True if a child that is started now would inherit the descriptor. */
export function isInherited(descriptor: number): boolean {
  const flags: number = library.calls.fcntl(descriptor, F_GETFD, 'int', 0)
  return flags >= 0 && (flags & FD_CLOEXEC) === 0
}

/** Makes a pipe hold up to `size` bytes. False where the system cannot, or may not: then the pipe
 *  stays as it is. Throws EMISCONFIGURED (no native build). */
export function enlargePipe(descriptor: number, size: number): boolean {
  if (process.platform !== 'linux') return false
  const { fcntl } = library.calls
  return fcntl(descriptor, F_SETPIPE_SZ, 'int', size) >= size
}

/** Returns the access mode of a descriptor. Throws EMISCONFIGURED (no native build),
 *  and EIO if it is not open. */
export function accessModeOf(descriptor: number): 'read' | 'write' | 'read-write' {
  const { fcntl, errno } = library.calls
  const flags: number = fcntl(descriptor, F_GETFL, 'int', 0)
  if (flags < 0) throw new TailraceError('EIO', `fcntl failed: ${errnoName(errno())}`)
  const mode = flags & (files.O_WRONLY | files.O_RDWR)
  if (mode === files.O_RDWR) return 'read-write'
  return mode === files.O_WRONLY ? 'write' : 'read'
}

/** Calls `act` once a pipe or a stream socket that this process writes to has no reader any more,
 *  even while nothing is written. A thread waits in poll(2) for that. Disposal wakes the thread,
 *  and so does the exit of this process, which would otherwise wait for it. Throws EMISCONFIGURED
 *  (no native build), EIO. */
export function onReaderGone(descriptor: number, act: () => void): Disposable {
  const { pipe, poll, errno } = library.calls
  const ends = new Int32Array(2)
  if (pipe(ends) !== 0) throw new TailraceError('EIO', `pipe failed: ${errnoName(errno())}`)
  const [woken = -1, waker = -1] = ends
  for (const end of ends) closeOnExec(end)
  // Two pollfds, each an int and two shorts: the descriptor, the requested events, the returned
  // events. No event is requested: poll returns errors and hang-ups anyway, those of the waker too.
  const polled = Int32Array.of(descriptor, 0, woken, 0)
  const wake = () => closeSync(waker)
  process.once('exit', wake)
  const state = { ended: false }
  poll.async(polled, 2, -1, () => {
    closeSync(woken)
    if (!state.ended && polled[1] !== 0) act()
  })
  return {
    [Symbol.dispose]: () => {
      if (state.ended) return
      state.ended = true
      process.off('exit', wake)
      wake()
    },
  }
}

/** Returns the numbers of this process's open descriptors, ascending; none where
 *  the system does not tell. */
export function openDescriptors(): number[] {
  for (const directory of ['/proc/self/fd', '/dev/fd']) {
    try {
      const names = readdirSync(directory)
      return names.map(Number).sort((a, b) => a - b)
    } catch {
      // This system has no such directory: try the next one.
    }
  }
  return []
}

/** Returns the kind of a listening socket that this process was started with, and marks it so that no child
 *  inherits it. Undefined if the descriptor is none, or the system is not Linux. Throws EMISCONFIGURED
 *  (no native build). */
export function listeningSocket(descriptor: number): 'tcp' | 'unix' | undefined {
  if (process.platform !== 'linux') return undefined
  const option = (name: number) => {
    const value = new Int32Array(1)
    const size = Uint32Array.of(value.byteLength)
    const answer = library.calls.getsockopt(descriptor, SOL_SOCKET, name, value, size)
    return answer === 0 ? value[0] : undefined
  }
  if (option(SO_ACCEPTCONN) !== 1) return undefined
  closeOnExec(descriptor)
  switch (option(SO_DOMAIN)) {
    case AF_INET:
    case AF_INET6:
      return 'tcp'
    case AF_UNIX:
      return 'unix'
    default:
      return undefined
  }
}

/** Opens a file (mode 0600 if it is new) and takes its lock; undefined if another holds
 *  the lock. The caller closes the descriptor to give the lock back. Throws what
 *  `tryLock` and node:fs throw. */
export function openLocked(path: string): number | undefined {
  const descriptor = openSync(path, 'a', 0o600)
  try {
    if (tryLock(descriptor)) return descriptor
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
  closeSync(descriptor)
  return undefined
}

type System = ReturnType<typeof import('koffi').load>

function mallocCalls(system: System): MallocCalls {
  return {
    mallopt: system.func('int mallopt(int, int)'),
    malloc_trim: system.func('int malloc_trim(size_t)'),
  }
}

function terminalCalls(system: System): TerminalCalls {
  return {
    unlockpt: system.func('int unlockpt(int)'),
    ptsname: system.func('int ptsname_r(int, _Out_ uint8_t *, size_t)'),
  }
}

/** The signature of `prctl` for koffi. */
const prctl = 'int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'

/** The signature of `preadv2` for koffi. */
const preadv2 = 'int64_t preadv2(int, void *, int, int64_t, int)'

/** Returns `fallocate` with offsets of 64 bits, by the name that the C library has for it. */
function fallocateOf(system: System): Calls['fallocate'] {
  const parameters = '(int, int, int64_t, int64_t)'
  return (
    ifThere(() => system.func(`int fallocate64${parameters}`)) ??
    ifThere(() => system.func(`int fallocate${parameters}`))
  )
}

/** Returns the generation of an open file's inode: a number that changes when the system uses the
 *  inode again for another file. Undefined where the system or the file system does not tell.
 *  Throws EMISCONFIGURED (no native build). */
export function generationOf(descriptor: number): string | undefined {
  if (process.platform !== 'linux' || !generationMachines.has(process.arch)) return undefined
  const generation = Buffer.alloc(8) // the system writes an int, though the request says long
  const answer = library.calls.ioctl(descriptor, FS_IOC_GETVERSION, 'void *', generation)
  return answer === 0 ? String(generation.readUInt32LE()) : undefined
}

function load(): Calls {
  try {
    const require = createRequire(import.meta.url)
    const koffi = require('koffi') as typeof import('koffi')
    const system = koffi.load(null)
    return {
      flock: system.func('int flock(int, int)'),
      dup2: system.func('int dup2(int, int)'),
      fcntl: system.func('int fcntl(int, int, ...)'),
      waitpid: system.func('int waitpid(int, void *, int)'),
      prctl: process.platform === 'linux' ? system.func(prctl) : undefined,
      ioctl: system.func('int ioctl(int, unsigned long, ...)'),
      pipe: system.func('int pipe(void *)'),
      poll: system.func('int poll(void *, unsigned long, int)'),
      fallocate: process.platform === 'linux' ? fallocateOf(system) : undefined,
      preadv2: process.platform === 'linux' ? ifThere(() => system.func(preadv2)) : undefined,
      getsockopt: system.func('int getsockopt(int, int, int, void *, void *)'),
      addressOf: (bytes) => koffi.address(bytes),
      malloc: ifThere(() => mallocCalls(system)),
      terminal: process.platform === 'linux' ? terminalCalls(system) : undefined,
      errno: () => koffi.errno(),
    }
  } catch (cause) {
    const name = `@koromix/koffi-${process.platform}-${process.arch}`
    const message = `koffi has no native build here: install ${name}, or install with optional dependencies`
    throw new TailraceError('EMISCONFIGURED', message, { cause })
  }
}

/** Returns what `find` returns; undefined where the C library lacks a
 *  function that `find` looks up. */
function ifThere<T>(find: () => T): T | undefined {
  try {
    return find()
  } catch {
    return undefined
  }
}

function errnoName(error: number): string {
  const found = Object.entries(constants.errno).find(([, number]) => number === error)
  return found?.[0] ?? String(error)
}
