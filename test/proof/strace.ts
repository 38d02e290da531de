/** The system calls of a child process that matter to what is on disk, as strace tells them, in the
 *  order in which they happened; and faults put in their place. Where strace is missing a test says which
 *  proof was not run.
 *  Invariant: a call that changes a watched file in a way that is not understood here is an error. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { text as readText } from 'node:stream/consumers'
import type { TestContext } from 'vitest'

/** One thing that happened to a file or a name. `changed` comes when the call has returned, in its own
 *  place. */
export type DiskCall =
  | {
      readonly type: 'write'
      readonly path: string
      readonly id: number
      readonly offset: number
      readonly data: Buffer
    }
  | {
      readonly type: 'truncate'
      readonly path: string
      readonly id: number
      readonly size: number
    }
  /** Zeros from an offset on; the length of the file stays. */
  | {
      readonly type: 'punch'
      readonly path: string
      readonly id: number
      readonly offset: number
      readonly size: number
    }
  /** A file that was not there before, perhaps: it was opened so that it is made where it is missing. */
  | { readonly type: 'create'; readonly path: string; readonly id: number }
  | { readonly type: 'unlink'; readonly path: string; readonly id: number }
  | { readonly type: 'rename'; readonly path: string; readonly id: number; readonly to: string }
  | {
      readonly type: 'changed'
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
  /** The directory whose files matter, without a link in its path. */
  readonly disk: string
  /** The files in it that do not. */
  readonly passing: RegExp
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
  'rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,fdatasync,fsync,' +
  'sync_file_range,msync,mmap,lseek,openat,mkdir,mkdirat,io_submit'
/** More than the largest write. */
const stringMax = 64 * 1024 * 1024

export async function trace(options: TraceOptions): Promise<Traced> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-trace-'))
  const output = join(directory, 'trace')
  const inject = (options.inject ?? []).map((each) => `--inject=${each}`)
  const args = ['-f', '-qq', '-v', '-y', '-xx', '-s', `${stringMax}`, '-e', `trace=${traced}`]
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

/** A write that failed on a full disk has all its bytes but the last one: where there was room for all of them
 *  it would not have failed. REQUIRES: the text of one strace of all threads, without timestamps. */
export function parseTrace(
  lines: readonly string[],
  files: Pick<TraceOptions, 'disk' | 'passing' | 'told'>,
): DiskCall[] {
  const calls: DiskCall[] = []
  const parser = new Parser(files, (call) => calls.push(call))
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
  return calls.map((call) =>
    call.type === 'write' && parser.short.has(call.id)
      ? { ...call, data: call.data.subarray(0, -1) }
      : call,
  )
}

class Parser {
  readonly #files: Pick<TraceOptions, 'disk' | 'passing' | 'told'>
  readonly #add: (call: DiskCall) => void
  #id = 0
  /** Of the descriptor that was moved last: LMDB writes where it has just sought. */
  readonly #positions = new Map<string, number>()
  /** Descriptors whose writes are on disk when they return. */
  readonly #synced = new Set<string>()
  /** The writes that failed on a full disk. */
  readonly short = new Set<number>()
  /** The bytes that each write under way should write. */
  readonly #sizes = new Map<number, number>()

  constructor(
    files: Pick<TraceOptions, 'disk' | 'passing' | 'told'>,
    add: (call: DiskCall) => void,
  ) {
    this.#files = files
    this.#add = add
  }

  begin(name: string, args: string): number {
    const id = this.#id++
    const [fd = '', path = ''] = descriptorOf(args)
    if (path.endsWith(this.#files.told) && name === 'write') {
      this.#add({ type: 'told', path, text: Buffer.concat(stringsOf(args)).toString() })
      return id
    }
    if (name === 'fdatasync' || name === 'fsync') {
      if (isFile(path)) this.#add({ type: 'sync', path, id })
      return id
    }
    if (/^(openat|mkdir|mkdirat)$/.test(name)) return id
    if (/^(rename|link|symlink|unlink|rmdir|truncate)/.test(name)) {
      this.#beginName(name, args, id)
      return id
    }
    if (!this.#isDisk(path)) return id
    if (name === 'pwrite64' || name === 'pwritev') {
      this.#write(path, id, Number(/, (\d+)$/.exec(args)?.[1]), stringsOf(args))
    } else if (name === 'writev') {
      const offset = this.#positions.get(fd)
      if (offset === undefined) throw new Error('a writev to the disk from a position not known')
      this.#positions.delete(fd)
      this.#write(path, id, offset, stringsOf(args))
    } else if (name === 'lseek') {
      this.#positions.set(fd, Number(/, (\d+), SEEK_SET/.exec(args)?.[1] ?? Number.NaN))
    } else if (name === 'ftruncate') {
      this.#add({ type: 'truncate', path, id, size: Number(/, (\d+)$/.exec(args)?.[1]) })
    } else if (name === 'fallocate' && args.includes('KEEP_SIZE|FALLOC_FL_PUNCH_HOLE')) {
      const [, offset, size] = /, (\d+), (\d+)$/.exec(args) ?? []
      this.#add({ type: 'punch', path, id, offset: Number(offset), size: Number(size) })
    } else if (name === 'mmap') {
      if (/PROT_WRITE/.test(args) && /MAP_SHARED/.test(args)) throw new Error(`a map: ${args}`)
    } else throw new Error(`the disk was changed by ${name}(${args.slice(0, 200)})`)
    return id
  }

  end({ name, args, id }: Begun, result: string): void {
    if (result.startsWith('?')) return // the process was killed in it
    const failed = result.startsWith('-1')
    const [fd = '', path = ''] = descriptorOf(args)
    if (name === 'openat') {
      const opened = /^(\d+)/.exec(result)?.[1] ?? ''
      this.#synced.delete(opened)
      if (/O_D?SYNC/.test(args)) this.#synced.add(opened)
      if (!failed) this.#opened(args, id)
    } else if ((name === 'mkdir' || name === 'mkdirat') && !failed) {
      this.#add({ type: 'mkdir', path: pathsIn(args)[0] ?? '' })
    } else if (name === 'fdatasync' || name === 'fsync') {
      if (isFile(path)) this.#add({ type: 'synced', path, id, ok: !failed })
    } else if (/^(rename|unlink)/.test(name) && pathsIn(args).some((each) => this.#isDisk(each))) {
      this.#add({ type: 'changed', id, synced: false, ok: !failed })
    } else if (this.#isDisk(path) && /^(pwrite64|pwritev|writev|ftruncate|fallocate)$/.test(name)) {
      const size = this.#sizes.get(id)
      this.#sizes.delete(id)
      const written = failed || size === undefined || Number.parseInt(result, 10) === size
      if (!written) throw new Error(`a write of ${size} bytes wrote ${result}`)
      const synced = size !== undefined && this.#synced.has(fd)
      if (size !== undefined && result.includes('ENOSPC')) this.short.add(id)
      this.#add({ type: 'changed', id, synced, ok: !failed })
    }
  }

  #beginName(name: string, args: string, id: number): void {
    const [path = '', to = ''] = pathsIn(args)
    if (!this.#isDisk(path) && !this.#isDisk(to)) return
    if (name.startsWith('unlink')) this.#add({ type: 'unlink', path, id })
    else if (name.startsWith('rename')) this.#add({ type: 'rename', path, id, to })
    else if (name !== 'rmdir') throw new Error(`the disk was changed by ${name}(${path})`)
  }

  #opened(args: string, id: number): void {
    const [path = ''] = pathsIn(args)
    if (!this.#isDisk(path)) return
    if (args.includes('O_CREAT')) this.#add({ type: 'create', path, id })
    if (!args.includes('O_TRUNC')) return
    const cut = this.#id++ // another change than that of the name
    this.#add({ type: 'truncate', path, id: cut, size: 0 })
    this.#add({ type: 'changed', id: cut, synced: false, ok: true })
  }

  #isDisk(path: string): boolean {
    const name = path.slice(path.lastIndexOf('/') + 1)
    return path.startsWith(`${this.#files.disk}/`) && !this.#files.passing.test(name)
  }

  #write(path: string, id: number, offset: number, parts: readonly Buffer[]): void {
    if (!Number.isSafeInteger(offset)) throw new Error('a write to an offset not known')
    const data = Buffer.concat(parts)
    this.#sizes.set(id, data.length)
    this.#add({ type: 'write', path, id, offset, data })
  }
}

/** False for a pipe or a socket, which Node syncs at its end without success. */
function isFile(path: string): boolean {
  return path.startsWith('/')
}

/** The paths that a call is about, each with the directory that it begins at. */
function pathsIn(args: string): string[] {
  return [...args.matchAll(/(?:AT_FDCWD|\d+)?(?:<([^>]*)>, )?"([^"]*)"/g)].map(
    ([, above = '', text = '']) => resolve(bytesOf(above).toString(), bytesOf(text).toString()),
  )
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
