/** The system calls of a child process that matter to what is on disk, as strace tells them, in the
 *  order in which they happened; and faults put in their place. Where strace is missing a test says which
 *  proof was not run.
 *  Invariant: a call that changes a watched file in a way that is not understood here is an error. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as readText } from 'node:stream/consumers'
import type { TestContext } from 'vitest'

/** One thing that happened to a file. `done` comes when the call has returned, in its own place. */
export type DiskCall =
  | {
      readonly type: 'write'
      readonly path: string
      readonly id: number
      readonly offset: number
      readonly data: Buffer
    }
  | {
      readonly type: 'written'
      readonly id: number
      readonly synced: boolean
      readonly ok: boolean
    }
  | { readonly type: 'sync'; readonly path: string; readonly id: number }
  | { readonly type: 'synced'; readonly path: string; readonly id: number; readonly ok: boolean }
  | { readonly type: 'mkdir'; readonly path: string }
  /** A write to a file that is not watched as a disk: what the child tells. */
  | { readonly type: 'told'; readonly path: string; readonly text: string }

export type Traced = {
  readonly calls: readonly DiskCall[]
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export type TraceOptions = {
  readonly args: readonly string[]
  /** The file whose bytes matter, by the end of its path. */
  readonly disk: string
  /** Files whose writes are messages. */
  readonly told: string
  /** As strace's `-e inject=`: `fdatasync:error=EIO:when=3`. */
  readonly inject?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

/** Skips the test, with the reason, where strace is missing or may not trace. */
export function needStrace(context: TestContext, proof: string): void {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-o', '/dev/null', 'true'])
  if (status === 0) return
  const reason = error?.message ?? String(stderr).trim()
  context.skip(`${proof} was not tried: strace cannot trace a process here (${reason})`)
}

/** Calls that write, sync, or say where; and those that would be another way to write. */
const traced =
  'pwrite64,pwritev,pwritev2,write,writev,sendfile,copy_file_range,fallocate,ftruncate,truncate,' +
  'rename,renameat,renameat2,fdatasync,fsync,sync_file_range,msync,mmap,lseek,openat,mkdir,mkdirat,' +
  'io_submit'
/** More than the largest write. */
const stringMax = 64 * 1024 * 1024

export async function trace(options: TraceOptions): Promise<Traced> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-trace-'))
  const output = join(directory, 'trace')
  const inject = (options.inject ?? []).map((each) => `--inject=${each}`)
  const args = ['-f', '-qq', '-y', '-xx', '-s', `${stringMax}`, '-e', `trace=${traced}`]
  try {
    const child = spawn(
      'strace',
      [...args, ...inject, '-o', output, process.execPath, ...options.args],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.environment } },
    )
    const [stdout, stderr, [code, signal]] = await Promise.all([
      readText(child.stdout),
      readText(child.stderr),
      once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
    ])
    const calls = parseTrace((await readFile(output, 'latin1')).split('\n'), options)
    return { calls, code, signal, stdout, stderr }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

type Begun = { readonly name: string; readonly args: string; readonly id: number }

/** REQUIRES: the text of one strace of all threads, without timestamps. */
export function parseTrace(
  lines: readonly string[],
  files: { readonly disk: string; readonly told: string },
): DiskCall[] {
  const calls: DiskCall[] = []
  const parser = new Parser(files.disk, files.told, (call) => calls.push(call))
  const begun = new Map<string, Begun>()
  for (const line of lines) {
    const whole = /^(\d+) +(\w+)\((.*)\) += (.*)$/.exec(line)
    const start = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/.exec(line)
    const end = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)$/.exec(line)
    if (whole) {
      const [, , name = '', args = '', result = ''] = whole
      const id = parser.begin(name, args)
      parser.end({ name, args, id }, result)
    } else if (start) {
      const [, pid = '', name = '', args = ''] = start
      begun.set(pid, { name, args, id: parser.begin(name, args) })
    } else if (end) {
      const [, pid = '', name = '', more = '', result = ''] = end
      const call = begun.get(pid)
      if (call?.name !== name) throw new Error(`strace resumed a call that had not begun: ${line}`)
      begun.delete(pid)
      parser.end({ ...call, args: call.args + more }, result)
    }
  }
  return calls
}

class Parser {
  readonly #disk: string
  readonly #told: string
  readonly #add: (call: DiskCall) => void
  #id = 0
  /** Of the descriptor that was moved last: LMDB writes where it has just sought. */
  readonly #positions = new Map<string, number>()
  /** Descriptors whose writes are on disk when they return. */
  readonly #synced = new Set<string>()

  constructor(disk: string, told: string, add: (call: DiskCall) => void) {
    this.#disk = disk
    this.#told = told
    this.#add = add
  }

  begin(name: string, args: string): number {
    const id = this.#id++
    const [fd = '', path = ''] = descriptorOf(args)
    if (path.endsWith(this.#told) && name === 'write') {
      this.#add({ type: 'told', path, text: Buffer.concat(stringsOf(args)).toString() })
      return id
    }
    if (name === 'fdatasync' || name === 'fsync') {
      this.#add({ type: 'sync', path, id })
      return id
    }
    if (!path.endsWith(this.#disk)) return id
    if (name === 'pwrite64') {
      const offset = Number(/, (\d+)$/.exec(args)?.[1])
      this.#write(path, id, offset, stringsOf(args))
    } else if (name === 'writev') {
      const offset = this.#positions.get(fd)
      if (offset === undefined) throw new Error('a writev to the disk from a position not known')
      this.#positions.delete(fd)
      this.#write(path, id, offset, stringsOf(args))
    } else if (name === 'lseek') {
      this.#positions.set(fd, Number(/, (\d+), SEEK_SET/.exec(args)?.[1] ?? Number.NaN))
    } else if (name === 'mmap') {
      if (/PROT_WRITE/.test(args) && /MAP_SHARED/.test(args)) throw new Error(`a map: ${args}`)
    } else throw new Error(`the disk was changed by ${name}(${args.slice(0, 200)})`)
    return id
  }

  end({ name, args, id }: Begun, result: string): void {
    const failed = result.startsWith('-1')
    const [fd = '', path = ''] = descriptorOf(args)
    if (name === 'openat') {
      const opened = /^(\d+)/.exec(result)?.[1] ?? ''
      this.#synced.delete(opened)
      if (/O_D?SYNC/.test(args)) this.#synced.add(opened)
    } else if ((name === 'mkdir' || name === 'mkdirat') && !failed) {
      this.#add({ type: 'mkdir', path: Buffer.concat(stringsOf(args)).toString() })
    } else if (name === 'fdatasync' || name === 'fsync') {
      this.#add({ type: 'synced', path, id, ok: !failed })
    } else if (path.endsWith(this.#disk) && (name === 'pwrite64' || name === 'writev')) {
      this.#add({ type: 'written', id, synced: this.#synced.has(fd), ok: !failed })
    }
  }

  #write(path: string, id: number, offset: number, parts: readonly Buffer[]): void {
    if (!Number.isSafeInteger(offset)) throw new Error('a write to an offset not known')
    this.#add({ type: 'write', path, id, offset, data: Buffer.concat(parts) })
  }
}

/** `19<\x2f…>`: the descriptor that a call is about, and its path. */
function descriptorOf(args: string): readonly string[] {
  const direct = /^(\d+)<([^>]*)>/.exec(args)
  const mapped = direct ?? /MAP_[A-Z|_]+, (\d+)<([^>]*)>/.exec(args)
  if (!mapped) return []
  const [, fd = '', path = ''] = mapped
  return [fd, bytesOf(path).toString()]
}

function stringsOf(args: string): Buffer[] {
  return [...args.matchAll(/"([^"]*)"/g)].map(([, text = '']) => bytesOf(text))
}

/** `\x61\x62`, or plain. */
function bytesOf(text: string): Buffer {
  return text.startsWith('\\x') ? Buffer.from(text.replaceAll('\\x', ''), 'hex') : Buffer.from(text)
}
