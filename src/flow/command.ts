/** Commands as targets: a program is run in a fresh directory that has what was declared, and what it is
 *  to make is collected. See rfc/24, rule 34.
 *  Invariant: nothing of it is left when a call has ended, neither a process of its group nor a file. */

import { once } from 'node:events'
import { constants } from 'node:fs'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import type {
  CommandInput,
  CommandOutputs,
  CommandResult,
  CommandSpec,
  FailureMode,
  FlowInput,
  NullIn,
  Target,
  TargetOptions,
  TargetOutput,
} from '../api/flow.js'
import { onAbort } from '../base/abort.js'
import { sendSignal } from '../base/processes.js'
import { check, invalid, object, type Rule, shapeOf, text, texts } from '../base/shape.js'
import { spawnAlone } from '../base/spawn.js'
import { startTimer } from '../base/timer.js'
import { canceled, hasSystemCode, reasonOf, TailraceError } from '../error.js'
import { Trace } from './audit.js'
import { auditNow, type HearReads, keptOutput, targetSignal } from './calls.js'
import { isDirectoryPath } from './file-input.js'
import { GroupGuard } from './group-guard.js'
import { setOwnVersion } from './own-functions.js'
import { isFile, target } from './target.js'

/** The version of how commands are run: another one makes all of them again. */
export const commandVersion = 'tailrace command 1'
/** The largest stdout of a command, in bytes. */
export const stdoutSizeMax = 256 * 1024 * 1024
/** The part of stderr that the error of a command has, in bytes. */
const stderrSizeMax = 4_096
/** The time from SIGTERM to SIGKILL, in ms. */
const killMs = 2_000
/** The time that a stream may stay open after the end of its command, in ms. */
const heldMs = 2_000
/** The variables of commands that name none of these. */
const environment = { PATH: '/usr/local/bin:/usr/bin:/bin' }

const argv: Rule = {
  is: (value) =>
    texts.is(value) &&
    (value as readonly string[])[0] !== '' &&
    (value as readonly string[]).length > 0,
  expected: 'a program and its arguments, as an array of texts',
}
const commandSpec = shapeOf<CommandSpec<CommandOutputs | undefined>>(
  {
    run: argv,
    in: object,
    cwd: text,
    stdin: { is: () => true, expected: 'an input' },
    out: object,
    env: object,
  },
  ['run'],
)

/** Describes a command: a program that is run in a fresh directory, without a shell. It sees the files of
 *  `in` there, gets `stdin`, and the variables of `env` and no others but PATH. The result is its stdout,
 *  or, with `out`, the files that it has made, by the names there. It is made again if its arguments, its
 *  variables or the content of one of its inputs differ. Throws EINVAL.
 *
 *      const words = command('words', { run: ['sort', '-u', 'in.txt'], in: { 'in.txt': file('words.txt') } })
 *      const pdf = command('pdf', {
 *        run: ['typst', 'compile', 'report.typ', 'report.pdf'],
 *        in: { 'report.typ': text },
 *        out: { report: 'report.pdf' },
 *      })
 */
export function command<
  const O extends CommandOutputs | undefined = undefined,
  M extends Exclude<FailureMode, 'trim'> = 'stop',
>(
  name: string,
  spec: CommandSpec<O>,
  options?: TargetOptions<M>,
): Target<CommandResult<O> | NullIn<M>> {
  const inputs = commandInputs(name, spec)
  const made = target(name, inputs, runCommand as (...values: unknown[]) => unknown, options)
  return made as Target<CommandResult<O> | NullIn<M>>
}

/** Returns what the function of a command gets: its plan, its files and its stdin. Throws EINVAL. */
export function commandInputs(name: string, spec: CommandSpec): readonly FlowInput[] {
  const what = `command ${name}`
  check(what, spec, commandSpec)
  const { run, in: files = {}, out, env = {}, cwd, stdin } = spec
  const inside = [
    ...Object.keys(files),
    ...Object.values(out ?? {}),
    ...(cwd === undefined ? [] : [cwd]),
  ]
  for (const path of inside) checkPath(what, path)
  if (isFile(stdin) && isDirectoryPath(stdin.path))
    throw invalid(`${what}: stdin is a file, a result or a content, and no directory`)
  for (const [variable, value] of Object.entries(env)) {
    if (typeof value !== 'string') throw invalid(`${what}: the variable ${variable} must be text`)
  }
  const plan: CommandPlan = { name, run, env, out: out ?? null, ...(cwd !== undefined && { cwd }) }
  const sources = Object.fromEntries(
    Object.entries(files).map(([path, input]) => [path, sourceOf(input)]),
  )
  return [plan, sources, stdin === undefined ? null : sourceOf(stdin)]
}

function sourceOf(input: CommandInput): FlowInput {
  return isFile(input) ? { path: input } : { content: input }
}

/** Throws EINVAL for a path that leads out of the directory of a command. */
function checkPath(what: string, path: unknown): void {
  const isInside =
    typeof path === 'string' &&
    !path.includes('\0') &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  if (!isInside)
    throw invalid(
      `${what}: ${JSON.stringify(path)} must be a path within its directory, like data/in.txt`,
    )
}

/** The parts of a command that are plain values. */
export type CommandPlan = {
  readonly name: string
  readonly run: readonly string[]
  readonly env: { readonly [name: string]: string }
  /** The files that it makes, by the names of its results; undefined if its result is stdout. */
  readonly out: { readonly [name: string]: string } | null
  /** The directory within its own in which it runs. */
  readonly cwd?: string
}

/** An input as the function gets it: the path of a file, or a content. */
export type CommandSource = { readonly path: string } | { readonly content: string | Uint8Array }

/** The files of a command, by their paths within its directory. */
export type CommandFiles = { readonly [path: string]: CommandSource }

/** The inputs of the function of a command. */
export type CommandInputs = [plan: CommandPlan, files: CommandFiles, stdin: CommandSource | null]

/** Returns all variables of a command. */
export function commandEnvironment(env: CommandPlan['env']): CommandPlan['env'] {
  return { ...environment, ...env }
}

/** Runs a command. It is the function of all targets that are commands. Throws ENOENT (there is no such
 *  program), EIO (it ended with another code than 0, or by a signal), EINVAL (it has not made a file that
 *  was declared), E2BIG (above `stdoutSizeMax`), and the reason of the signal. */
export async function runCommand(
  plan: CommandPlan,
  files: CommandFiles,
  stdin: CommandSource | null,
): Promise<Uint8Array | { readonly [name: string]: Uint8Array }> {
  const signal = targetSignal()
  const output = keptOutput()
  const audit = auditNow()
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-command-'))
  try {
    await layOut(directory, plan, files)
    const input = stdin && ('path' in stdin ? await readFile(stdin.path) : stdin.content)
    const surroundings = { directory, input, signal, output }
    const stdout = audit
      ? await audited(plan, surroundings, { inputs: pathsIn(files, stdin), audit })
      : await outputOf(plan, surroundings)
    if (!plan.out) return stdout
    const made: [string, Uint8Array][] = []
    for (const [name, path] of Object.entries(plan.out)) {
      made.push([name, await outputFile(plan, join(directory, path), path)])
    }
    return Object.fromEntries(made)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

setOwnVersion(runCommand, commandVersion)

/** Runs the program as `outputOf` does, and tells which files it read that are not known. */
async function audited(
  plan: CommandPlan,
  surroundings: Surroundings,
  { inputs, audit }: { readonly inputs: readonly string[]; readonly audit: HearReads },
): Promise<Uint8Array> {
  await using trace = await Trace.open()
  try {
    return await outputOf({ ...plan, run: trace.wrap(plan.run) }, surroundings)
  } finally {
    const files = await trace.unknownFiles({ directory: surroundings.directory, inputs })
    if (files.length > 0) audit(files)
  }
}

function pathsIn(files: CommandFiles, stdin: CommandSource | null): readonly string[] {
  const sources = [...Object.values(files), ...(stdin ? [stdin] : [])]
  return sources.flatMap((source) => ('path' in source ? [source.path] : []))
}

/** Puts the files of a command into its directory, and makes those in which it is to make files. */
export async function layOut(
  directory: string,
  { name, out, cwd = '' }: CommandPlan,
  files: CommandFiles,
): Promise<void> {
  if (cwd !== '') checkPath(`command ${name}`, cwd)
  await mkdir(join(directory, cwd), { recursive: true })
  for (const [path, source] of Object.entries(files)) {
    checkPath(`command ${name}`, path)
    await placeSource(join(directory, path), source)
  }
  for (const path of Object.values(out ?? {})) {
    checkPath(`command ${name}`, path)
    await mkdir(dirname(join(directory, path)), { recursive: true })
  }
}

/** Writes an input of a command to a path. */
export async function placeSource(path: string, source: CommandSource): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  if ('path' in source && isDirectoryPath(source.path)) await copyDirectory(source.path, path)
  else if ('path' in source) await copyFile(source.path, path, constants.COPYFILE_FICLONE)
  else await writeFile(path, source.content)
}

/** Copies a directory with all in it. Links stay as they are. */
async function copyDirectory(from: string, to: string): Promise<void> {
  const options = { verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE }
  await cp(from, to, { recursive: true, ...options })
}

async function outputFile({ name }: CommandPlan, path: string, shown: string): Promise<Uint8Array> {
  try {
    const bytes = await readFile(path)
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  } catch (cause) {
    const message = `command ${name} has not made its output ${shown}: ${reasonOf(cause)}`
    throw new TailraceError('EINVAL', message, { cause })
  }
}

type Surroundings = {
  readonly directory: string
  readonly input: string | Uint8Array | null
  readonly signal: AbortSignal
  readonly output: TargetOutput | undefined
}

/** Runs the program, and returns its stdout. */
async function outputOf(
  { name, run: [program = '', ...args], env, out: files, cwd = '' }: CommandPlan,
  { directory, input, signal, output }: Surroundings,
): Promise<Uint8Array> {
  if (signal.aborted) throw canceled(signal)
  using guard = new GroupGuard(directory)
  const child = spawnAlone(program, args, {
    // A group of its own, so that a signal reaches all that it starts.
    ...{ cwd: join(directory, cwd), detached: true, env: commandEnvironment(env) },
    stdio: [input === null ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  const { pid, stdin, stdout, stderr } = child
  if (pid !== undefined) guard.guard(pid)
  if (pid === undefined || !stdout || !stderr) {
    const [cause] = (await once(child, 'error')) as [unknown]
    const code = hasSystemCode(cause, 'ENOENT') ? 'ENOENT' : 'EIO'
    throw new TailraceError(code, `command ${name} cannot be run: ${reasonOf(cause)}`, { cause })
  }
  child.on('error', () => {}) // of a signal that comes too late
  const ends: (() => void)[] = []
  const end = () => {
    sendSignal(-pid, 'SIGTERM')
    ends.push(startTimer(killMs, () => sendSignal(-pid, 'SIGKILL')))
  }
  ends.push(onAbort(signal, end))
  // The processes that it has started end with it. One that has left its group may hold the streams, but
  // not for longer than `heldMs`.
  child.once('exit', () => {
    sendSignal(-pid, 'SIGKILL')
    const drop = () => {
      stdout.destroy()
      stderr.destroy()
    }
    ends.push(startTimer(heldMs, drop))
  })
  // It may end without having read all.
  stdin?.on('error', () => {})
  stdin?.end(input)
  try {
    const closed = once(child, 'close') as Promise<[number | null, string | null]>
    const [out, tail, [code, by]] = await Promise.all([
      outputIn(
        heard(stdout, (chunk) => {
          // A stdout that is the result is not printed, too.
          if (files) output?.write(chunk)
        }),
        name,
        end,
      ),
      tailOf(heard(stderr, (chunk) => output?.write(chunk, 'stderr'))),
      closed,
    ])
    if (signal.aborted) throw canceled(signal)
    if (code !== 0) {
      const how = by === null ? `with the exit code ${code}` : `by ${by}`
      throw new TailraceError('EIO', `command ${name} ended ${how}${tail && `: ${tail}`}`)
    }
    if (out instanceof TailraceError) throw out
    return out
  } finally {
    for (const each of ends) each()
  }
}

/** Returns all of a stream, or the error if it is too much, for which it calls `end`. */
async function outputIn(
  stream: AsyncIterable<Buffer>,
  name: string,
  end: () => void,
): Promise<Uint8Array | TailraceError> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of stream) {
    if (size <= stdoutSizeMax && size + chunk.length > stdoutSizeMax) end()
    size += chunk.length
    if (size <= stdoutSizeMax) chunks.push(chunk)
  }
  if (size <= stdoutSizeMax) return Uint8Array.from(Buffer.concat(chunks))
  const message = `command ${name} wrote more than ${stdoutSizeMax} bytes to stdout: declare a file in out`
  return new TailraceError('E2BIG', message)
}

/** Returns the last part of a stream as text. */
async function tailOf(stream: AsyncIterable<Buffer>): Promise<string> {
  let tail = Buffer.alloc(0)
  for await (const chunk of stream) {
    tail = Buffer.concat([tail, chunk]).subarray(-stderrSizeMax)
  }
  return tail.toString().trim()
}

/** Yields the chunks of a stream until it ends, or is destroyed. `hear` gets each before that. */
async function* heard(stream: Readable, hear: (chunk: Buffer) => void): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hear(chunk)
      yield chunk
    }
  } catch (error) {
    if (!stream.destroyed) throw error
  }
}
