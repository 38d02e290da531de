/** The built command as a process, on a data directory of its own. What it started is ended with it. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isAlive } from '../../src/cli/local.js'
import { readServerRecord } from '../../src/server/local.js'

export const mainFile = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export type Ended = {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly bytes: Buffer
}

export type CallOptions = {
  readonly input?: string | Uint8Array
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** The exit code of an error, as rfc/13, rule 12 has it. */
export function exitCode(code: string): number {
  if (['ENOENT', 'ENONS', 'ECOMPACTED'].includes(code)) return 3
  const refused =
    'EBUSY ECONFLICT EFENCED EEXIST EISDIR ENOTDIR ENOTEMPTY ESEALED EOVERWRITTEN EDQUOT'
  if (refused.includes(code)) return 4
  return ['ECLOSED', 'ETIMEDOUT', 'EUNKNOWN'].includes(code) ? 5 : 1
}

export class Sandbox {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  static async make(): Promise<Sandbox> {
    if (!existsSync(mainFile)) throw new Error(`${mainFile} is missing: npm run build`)
    return new Sandbox(await mkdtemp(join(tmpdir(), 'tailrace-cli-')))
  }

  /** `tailrace ARGS`; its stdin is open until `end`. */
  start(args: readonly string[], options: CallOptions = {}) {
    return this.#spawn([process.execPath, mainFile, ...args], options)
  }

  /** A script of bash, in which `t` is `tailrace`, `"$node" "$main"`; its stdin is empty. */
  async shell(script: string, options: CallOptions = {}): Promise<Ended> {
    const setUp = `node=${process.execPath} main=${mainFile}; t() { "$node" "$main" "$@"; }`
    const { child, ended } = this.#spawn(['bash', '-c', `${setUp}\n${script}`], options)
    child.stdin.end(options.input ?? '')
    return ended()
  }

  #spawn([program = '', ...args]: readonly string[], options: CallOptions) {
    const { TAILRACE_URL: _url, TAILRACE_TOKEN: _token, ...inherited } = process.env
    const child = spawn(program, args, {
      cwd: options.cwd ?? this.directory,
      env: { ...inherited, TAILRACE_DATA: join(this.directory, 'data'), ...options.env },
    })
    child.stdin.on('error', () => {})
    const ended = async (): Promise<Ended> => {
      const [bytes, stderr, [code, signal]] = await Promise.all([
        buffer(child.stdout),
        buffer(child.stderr),
        once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
      ])
      return { code, signal, stdout: bytes.toString(), stderr: stderr.toString(), bytes }
    }
    return { child, ended }
  }

  async call(args: readonly string[], options: CallOptions = {}): Promise<Ended> {
    const { child, ended } = this.start(args, options)
    child.stdin.end(options.input ?? '')
    return ended()
  }

  /** As `call`, where the command is to succeed: its stdout. */
  async ok(args: readonly string[], options: CallOptions = {}): Promise<string> {
    const ended = await this.call(args, options)
    if (ended.code !== 0) {
      throw new Error(`tailrace ${args.join(' ')} ended with ${ended.code}: ${ended.stderr}`)
    }
    return ended.stdout
  }

  get data(): string {
    return join(this.directory, 'data')
  }

  async remove(): Promise<void> {
    const record = await readServerRecord(this.data)
    if (record && isAlive(record)) {
      process.kill(record.pid, 'SIGKILL')
      while (isAlive(record)) await delay(5)
    }
    await rm(this.directory, { recursive: true, force: true })
  }
}
