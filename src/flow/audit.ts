/** Audits of commands: which files a program reads that are no inputs of its target. See rfc/24, rule 37.
 *  Invariant: nothing is counted that the program has made itself, that stands in its directory, or that
 *  is a declared input or the system's. */

import { access, constants, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TailraceError } from '../error.js'

/** The directories of the system: what is read there counts as a part of the machine. */
export const systemDirectories: readonly string[] = [
  ...['/bin', '/dev', '/etc', '/lib', '/lib32', '/lib64', '/libx32', '/nix/store', '/proc', '/run'],
  ...['/sbin', '/sys', '/usr'],
]
/** A directory below those, which is everybody's for data. */
const sharedMemory = '/dev/shm'
/** The largest number of files that are told of one call: their paths fit into one event. */
const filesMax = 200
/** The longest path in a trace, in bytes. */
const pathSizeMax = 4_096

/** The files of a command that count as known. */
export type KnownFiles = {
  /** Its directory. */
  readonly directory: string
  /** The absolute paths of its inputs; those of directories end with `/`. */
  readonly inputs: readonly string[]
}

/** The trace of one program. */
export class Trace implements AsyncDisposable {
  readonly #strace: string
  readonly #directory: string

  private constructor(strace: string, directory: string) {
    this.#strace = strace
    this.#directory = directory
  }

  /** Makes a trace. Throws EMISCONFIGURED where strace is not installed. */
  static async open(): Promise<Trace> {
    const strace = await stracePath()
    return new Trace(strace, await mkdtemp(join(tmpdir(), 'tailrace-audit-')))
  }

  /** Returns the program and the arguments that trace a command line. */
  wrap(run: readonly string[]): readonly string[] {
    // A file for each process, so that no line is cut by another one; `-y` tells what was opened.
    const what = ['-e', 'trace=open,openat,openat2,creat,execve', '-e', 'signal=none']
    const log = ['-s', String(pathSizeMax), '-o', join(this.#directory, 't')]
    return [this.#strace, '-ff', '-qq', '-y', '-z', ...what, ...log, '--', ...run]
  }

  /** Returns the files that were read and are not known, in the order of their paths: at most
   *  `filesMax`. */
  async unknownFiles(known: KnownFiles): Promise<readonly string[]> {
    const texts: string[] = []
    for (const name of await readdir(this.#directory)) {
      texts.push(await readFile(join(this.#directory, name), 'utf8'))
    }
    const directory = await realpath(known.directory)
    return unknownReads(texts.join('\n'), { ...known, directory }).slice(0, filesMax)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }
}

async function stracePath(): Promise<string> {
  for (const directory of (process.env['PATH'] ?? '').split(':')) {
    const path = join(directory, 'strace')
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  throw new TailraceError(
    'EMISCONFIGURED',
    'an audit needs strace, which is not in PATH: install it (apt-get install strace, dnf install strace, apk add strace)',
  )
}

/** Returns the paths that a trace says were read and are not known, sorted. */
export function unknownReads(trace: string, { directory, inputs }: KnownFiles): readonly string[] {
  const made = new Set<string>()
  const read = new Set<string>()
  for (const line of trace.split('\n')) {
    const program = /^execve\("((?:[^"\\]|\\.)*)"/.exec(line)?.[1]
    // The first one is the program itself; relative ones stand in the directory.
    if (program?.startsWith('/')) read.add(unescaped(program))
    const [, call, flags = '', path] = /^(open\w*|creat)\((.*)\) = \d+<(.*)>$/.exec(line) ?? []
    if (path === undefined) continue
    const opened = unescaped(path)
    if (call === 'creat' || /O_CREAT/.test(flags)) made.add(opened)
    if (call !== 'creat' && !/O_WRONLY|O_PATH/.test(flags)) read.add(opened)
  }
  const isKnown = (path: string) =>
    isIn(path, directory) ||
    inputs.some(
      (input) => path === input || (input.endsWith('/') && `${path}/`.startsWith(input)),
    ) ||
    (systemDirectories.some((system) => isIn(path, system)) && !isIn(path, sharedMemory))
  return [...read]
    .filter((path) => path.startsWith('/') && !made.has(path) && !isKnown(path))
    .sort()
}

function isIn(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`)
}

/** Returns a path as strace has escaped it. */
function unescaped(text: string): string {
  if (!text.includes('\\')) return text
  const bytes: number[] = []
  const named: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, v: 11, f: 12 }
  for (const [part, octal, letter] of text.matchAll(/\\([0-7]{1,3})|\\(.)|[^\\]+/g)) {
    if (octal !== undefined) bytes.push(Number.parseInt(octal, 8))
    else if (letter !== undefined) bytes.push(named[letter] ?? letter.charCodeAt(0))
    else bytes.push(...Buffer.from(part))
  }
  return Buffer.from(bytes).toString()
}
