/** `tailrace flow shell` and `again`: the last call of a target is reopened in a directory, on any machine
 *  that reaches the store, and made again there. See rfc/27, rules 7 to 9.
 *  Invariant: a directory of our own is removed when what runs in it has ended. */

import { once } from 'node:events'
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { isatty } from 'node:tty'
import { inspect } from 'node:util'
import type { CallAgain, ReopenedCall } from '../api/flow-look.js'
import { defined, invalid } from '../base/shape.js'
import { spawnAlone } from '../base/spawn.js'
import { errorRecordOf, TailraceError } from '../error.js'
import { differenceLines, shownAction, shownDifferences } from './cache.js'
import {
  argument,
  type CommandContext,
  command,
  directory,
  file,
  flag,
  option,
  program,
} from './command.js'
import { targetsOf } from './flow-file.js'
import { flow, layer } from './flow-options.js'
import { json, place } from './options.js'
import type { Output } from './output.js'
import { type CodePlace, readmeOf, scriptOf } from './reopened-files.js'
import { withStore } from './session.js'
import { PassedSignals } from './signals.js'
import { absolutePath } from './utf8.js'

const ofCode = {
  file: option('--file <file>', 'the file of the targets (default: that of the run)', file),
  directory: option(
    '-C, --directory <dir>',
    'the working directory of the code (default: that of the run, if it is here)',
    directory,
  ),
}

export const shell = command({
  name: 'shell',
  summary: 'reopen a target that failed, on any machine: its inputs as files, its error, a shell',
  description:
    'Write the last call of a target that failed into a fresh directory: what it was given as files in ' +
    'inputs/, of a command its directory as work/; README.md, which has the error with its stack, what ' +
    'differs from the last success, parameters and environment; and the script again, which makes the ' +
    'same call again. A terminal gets a shell there, and COMMAND behind -- runs there, each with the ' +
    "directory in its PATH, and exits with its code; the directory is removed then, unless it is --dir's. " +
    'Otherwise the path of the directory is printed. The store is enough: no code is needed but to call ' +
    'a function again. A branch is TARGET[I].',
  parameters: { target: argument('<target>'), command: argument('[command...]', program) },
  options: {
    dir: option('--dir <dir>', 'the directory, empty or not there; it is kept', directory),
    made: flag('--made', 'the last call that made the result, not the last that failed'),
    ...ofCode,
    flow,
    layer,
    json,
    ...place,
  },
  examples: [
    'tailrace flow shell report',
    'tailrace flow shell report -- again',
    "tailrace flow shell 'sizes[4]' --dir broken",
    'tailrace flow shell report -- cat README.md',
    'tailrace flow shell report --json',
  ],
  run: async (call) => {
    const { args, options, stdout } = call
    const words = args.command.length > 0 ? args.command : shellWords(call)
    const made = options.dir === undefined ? await freshDirectory(args.target) : undefined
    const to = absolutePath(options.dir ?? made ?? '')
    let isKept = false
    try {
      const reopened = await withStore(call, async (store) => {
        const { reopen } = await import('../flow/flow.js')
        const { target } = args
        const { flow, layer } = options
        return reopen(target, {
          ...{ store, directory: to, made: options.made },
          ...defined({ flow, layer }),
        })
      })
      const code = await codeOf(reopened, options)
      await writeTexts(reopened, code)
      if (words) return await runIn(to, words)
      isKept = true
      if (options.json) await stdout.json(reopenedJson(reopened))
      else await stdout.line(to)
      return 0
    } finally {
      if (made !== undefined && !isKept) await rm(made, { recursive: true, force: true })
    }
  },
})

function reopenedJson({ action, differences, ...facts }: ReopenedCall): object {
  return {
    ...facts,
    ...(differences && { differences: shownDifferences(differences) }),
    ...(action !== undefined && { action: shownAction(action) }),
  }
}

/** Returns the shell of a person at a terminal; undefined where there is none. */
function shellWords({
  environment,
  stdout,
  options,
}: CommandContext & { readonly options: { readonly json: boolean } }) {
  const hasTerminal = isatty(0) && stdout.isTerminal && !options.json
  return hasTerminal ? [environment['SHELL'] || '/bin/sh'] : undefined
}

function freshDirectory(target: string): Promise<string> {
  const name = target.replace(/[^\w.-]/g, '-').slice(0, 64)
  return mkdtemp(join(tmpdir(), `tailrace-${name}-`))
}

/** Finds the file of the targets on this machine: the one that is given, else that of the run in its
 *  working directory, or in ours. */
async function codeOf(
  { origin }: ReopenedCall,
  given: { readonly file: string | undefined; readonly directory: string | undefined },
): Promise<CodePlace | undefined> {
  const file = given.file ?? origin?.file
  if (file === undefined) return undefined
  // A file that is named on the command line counts from here.
  const named = given.file === undefined ? undefined : absolutePath(given.file)
  const places = given.directory === undefined ? [origin?.directory, '.'] : [given.directory]
  for (const each of places) {
    if (each === undefined) continue
    const found = { file: named ?? resolve(each, file), directory: resolve(each) }
    if ((await isThere(found.directory)) && (await isThere(found.file))) return found
  }
  if (given.file === undefined && given.directory === undefined) return undefined
  throw new TailraceError('ENOENT', `there is no file ${file} in ${given.directory ?? '.'}`)
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

async function writeTexts(call: ReopenedCall, code: CodePlace | undefined): Promise<void> {
  const { directory } = call
  await writeFile(join(directory, 'README.md'), readmeOf(call, code))
  const program = [process.execPath, process.argv[1] ?? 'tailrace']
  const script = scriptOf(call, { code, program })
  if (script !== undefined) await writeFile(join(directory, 'again'), script, { mode: 0o755 })
}

/** Runs a command in a directory, and returns its exit code. Throws ENOENT. */
async function runIn(
  directory: string,
  [program = '', ...rest]: readonly string[],
): Promise<number> {
  using signals = new PassedSignals()
  const path = [directory, process.env['PATH']].filter(Boolean).join(delimiter)
  const env = { ...process.env, PATH: path }
  const child = spawnAlone(program, rest, { cwd: directory, env, stdio: 'inherit' })
  // A terminal sends its interrupt to the command itself.
  signals.passTo((name) => void (name !== 'SIGINT' || !isatty(0) ? child.kill(name) : undefined))
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  const [code, by] = await ended.catch((cause: unknown) => {
    const message = `${program} cannot be run: ${errorRecordOf(cause).message}`
    throw new TailraceError('ENOENT', message, { cause })
  })
  return code ?? 128 + (by ? constants.signals[by] : 0)
}

export const again = command({
  name: 'again',
  summary: 'call the function of a directory that flow shell has made, with what it was given',
  description:
    'Import the file of the targets, say in what the target differs from the call that the directory ' +
    'has (code, packages, plain inputs), and call its function with the inputs of that call, without ' +
    'a store. stderr gets what it throws, with its stack, and the exit code is 1; else stdout gets ' +
    'what it returns. The script "again" of the directory does this with the file of the run.',
  parameters: { directory: argument('[dir]', directory) },
  options: {
    file: option('--file <file>', 'the file of the targets', file),
    json: flag('--json', 'print the outcome as JSON; errors too'),
  },
  examples: ['tailrace flow again broken --file flow.mjs'],
  run: async (call) => {
    const { args, options, stdout, stderr } = call
    if (options.file === undefined) {
      throw invalid('the file of the targets is not known on this machine: give it by --file')
    }
    const log = options.json ? undefined : stderr
    const { targets, room } = await targetsOf({ file: options.file, names: [] }, log)
    const found = await room.callAgain(absolutePath(args.directory ?? '.'), targets)
    if (log && found.differences.length > 0) {
      await log.line('the code or the inputs differ here from those of the call:')
      await log.lines(differenceLines(found.differences).map((line) => `  ${line}`))
    }
    const outcome = await outcomeOf(found)
    const isSame = 'error' in outcome && sameError(found, outcome.error)
    if (options.json) await stdout.json(outcomeJson(found, outcome, isSame))
    else await tell(found, outcome, { stdout, stderr, isSame })
    return 'error' in outcome ? 1 : 0
  },
})

type Outcome = { readonly value: unknown } | { readonly error: unknown }

async function outcomeOf(found: CallAgain): Promise<Outcome> {
  try {
    return { value: await found.call() }
  } catch (error) {
    return { error }
  }
}

function sameError({ error: before }: CallAgain, error: unknown): boolean {
  return before !== undefined && errorRecordOf(error).message === before.message
}

function outcomeJson({ target, differences }: CallAgain, outcome: Outcome, same: boolean): object {
  const told = { target, differences: shownDifferences(differences) }
  if ('error' in outcome) return { ...told, error: errorRecordOf(outcome.error), same }
  return { ...told, value: inspect(outcome.value) }
}

async function tell(
  { target, error: before }: CallAgain,
  outcome: Outcome,
  {
    stdout,
    stderr,
    isSame,
  }: { readonly stdout: Output; readonly stderr: Output; readonly isSame: boolean },
): Promise<void> {
  if (!('error' in outcome)) {
    if (before) await stderr.line(`${target} does not fail here: it returned`)
    return stdout.lines(inspect(outcome.value, { depth: null }).split('\n'))
  }
  await stderr.lines(inspect(outcome.error).split('\n'))
  if (isSame) await stderr.line(`${target} failed with the same error`)
  else if (before) {
    await stderr.line(`${target} failed with another error; the one before was: ${before.message}`)
  }
}
