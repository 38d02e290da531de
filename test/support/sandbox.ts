/** The command on a data directory of its own: built and as a process, or, where it only asks its server and prints
 *  what that answers, the same program in this process, which takes a tenth of the time. The server, too, is a process
 *  that the first command starts, or runs in this process. What it started is ended with it. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { colorAsked } from '../../src/cli/command-line.js'
import { commandGroups } from '../../src/cli/commands.js'
import { hasColors, Output } from '../../src/cli/output.js'
import { asksForJson, runProgram } from '../../src/cli/program.js'
import { report } from '../../src/cli/report.js'
import { prepareDirectory, readServerRecord, type ServerRecord } from '../../src/local/directory.js'
import { programVersion } from '../../src/local/installation.js'
import { isAlive } from '../../src/local/local.js'
import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'

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

/** Commands, with those of their children that a group has, that ask their server and print. */
const asking: readonly string[] = (
  '__complete append attach blob-get cache-config cache-create cache-ls cache-rm cache-show cache-stat cache-why completion cp ' +
  'diff eventlog-append eventlog-follow eventlog-get eventlog-wait-event flow-cancel flow-log flow-ls flow-report flow-rm flow-show flow-status forget fork gc get jobs jobs-rm ' +
  'lease-release lease-renew lease-show lease-take link log ls mkdir mv ns-config ns-create ns-list ns-rm ns-show ' +
  'pin pins put readlink restore rm root roots seal signal stat status stop tail token treeobj-get trim unpin version ' +
  'wait watch'
).split(' ')

function onlyAsks(args: readonly string[]): boolean {
  const [name = '', child = ''] = args
  // Node's own arguments are looked at where one may not be UTF-8; `-` is stdin; help is printed by the parser itself.
  if (args.some((text) => text === '-' || text === '--help' || text.includes('\ufffd')))
    return false
  return asking.includes(name) || asking.includes(`${name}-${child}`)
}

class Written extends Writable {
  readonly #chunks: Buffer[] = []

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#chunks.push(Buffer.from(chunk))
    done()
  }
}

/** The exit code of an error, as rfc/13, rule 12 has it. */
export function exitCode(code: string): number {
  if (['ENOENT', 'ENONS', 'ECOMPACTED'].includes(code)) return 3
  const refused =
    'EBUSY ECONFLICT EFENCED EEXIST EISDIR ENOTDIR ENOTEMPTY ESEALED EOVERWRITTEN EDQUOT'
  if (refused.includes(code)) return 4
  return ['ECLOSED', 'ETIMEDOUT', 'EUNKNOWN'].includes(code) ? 5 : 1
}

/** Expects that a command failed with one error, said in one line, and with `status`, and printed nothing else. */
export function failed(ended: Ended, code: string, status = exitCode(code)): void {
  expect(ended.stderr).toMatch(new RegExp(`^tailrace: ${code}: .+\\n$`))
  expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code: status, stdout: '' })
}

export class Sandbox {
  readonly directory: string
  /** Ends the server where it runs in this process. */
  #endServer = async () => {}

  private constructor(directory: string) {
    this.directory = directory
  }

  static async make(): Promise<Sandbox> {
    if (!existsSync(mainFile)) throw new Error(`${mainFile} is missing: npm run build`)
    return new Sandbox(await mkdtemp(join(tmpdir(), 'tailrace-cli-')))
  }

  /** A sandbox whose server runs in this process, for tests that are not about the server. A test that waits for a
   *  command without leaving its turn (`execFileSync`) waits for ever. */
  static async makeServed(): Promise<Sandbox> {
    const sandbox = await Sandbox.make()
    await sandbox.serve()
    return sandbox
  }

  /** Starts the server, in this process. */
  async serve(): Promise<void> {
    const { data } = this
    await prepareDirectory(data)
    const store = await open({ directory: data })
    const server = await startServer(store, { directory: data, log: () => {} })
    this.#endServer = async () => {
      await server.stop()
      await store[Symbol.asyncDispose]()
    }
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

  /** To its end. A command that reads stdin, runs others, or is about processes is one itself. */
  async call(args: readonly string[], options: CallOptions = {}): Promise<Ended> {
    const { input, cwd, env } = options
    const here = input === undefined && cwd === undefined && (await this.askHere(args, env))
    if (here) return here
    const { child, ended } = this.start(args, options)
    child.stdin.end(options.input ?? '')
    return ended()
  }

  /** Runs a command in this process if it only asks and prints. */
  async askHere(args: readonly string[], env: CallOptions['env'] = {}): Promise<Ended | undefined> {
    if (!onlyAsks(args)) return undefined
    const written = { stdout: new Written(), stderr: new Written() }
    const { TAILRACE_URL: _url, TAILRACE_TOKEN: _token, ...inherited } = process.env
    const environment = { ...inherited, TAILRACE_DATA: this.data, ...env }
    const commands = commandGroups.flatMap((group) => group.commands)
    const colors = hasColors(colorAsked(commands, args), environment, false)
    const stdout = new Output(written.stdout, { colors })
    const streams = { stdout, stderr: new Output(written.stderr, { colors }) }
    const spec = { version: programVersion(), description: '', groups: commandGroups }
    const code = await runProgram(spec, args, { ...streams, environment }).catch((error: unknown) =>
      report(error, streams, { json: asksForJson(args) }),
    )
    const { bytes } = written.stdout
    const stderr = written.stderr.bytes.toString()
    return { code, signal: null, stdout: bytes.toString(), stderr, bytes }
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

  /** The record of the server that runs. */
  async record(): Promise<ServerRecord> {
    const record = await readServerRecord(this.data)
    if (!record) throw new Error('no server.json')
    return record
  }

  async remove(): Promise<void> {
    await this.#endServer()
    const record = await readServerRecord(this.data)
    if (record && isAlive(record)) {
      process.kill(record.pid, 'SIGKILL')
      while (isAlive(record)) await delay(5)
    }
    await rm(this.directory, { recursive: true, force: true })
  }
}
