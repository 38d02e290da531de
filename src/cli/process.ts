/** The `tailrace` process, run by its import: see main.ts, and rfc/13.
 *  Invariant: exit code 0 is success, 2 a wrong command line, 130 an interrupt, any other an error that was said
 *  (report.ts); a reader of our output that goes away ends us quietly. */

import { programVersion } from '../local/installation.js'
import { colorAsked } from './command-line.js'
import { commandGroups } from './commands.js'
import { hasColors, Output } from './output.js'
import { asksForJson, runProgram } from './program.js'
import { report } from './report.js'
import { checkArguments, checkVariables } from './utf8.js'

/** Environment variables that name a directory, a server or a token. */
const variablesRead = [
  'HOME',
  'TAILRACE_DATA',
  'TAILRACE_TOKEN',
  'TAILRACE_URL',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
]

const args = process.argv.slice(2)
const commands = commandGroups.flatMap((group) => group.commands)
const stdout = outputOf(process.stdout)
const stderr = outputOf(process.stderr)

function outputOf(stream: NodeJS.WriteStream): Output {
  const colors = hasColors(colorAsked(commands, args), process.env, stream.isTTY === true)
  return new Output(stream, { colors, dumb: process.env['TERM'] === 'dumb' })
}

// A command that treats an interrupt in its own way (run, serve, demo) replaces this.
process.on('SIGINT', () => process.exit(130))

// Not awaited at the top: what is built into one file with this could not be imported before it has ended.
void main()

async function main(): Promise<void> {
  process.exitCode = await exitCode()
  await stdout.flush()
  await stderr.flush()
  // Not left to the event loop: an open stdin or an idle connection must not hold the command.
  process.exit()
}

async function exitCode(): Promise<number> {
  try {
    checkArguments(args)
    checkVariables(process.env, variablesRead)
    return await runProgram(
      {
        version: programVersion(),
        description: 'A key-value store whose keys can be appended to and watched.',
        groups: commandGroups,
      },
      args,
      { stdout, stderr, environment: process.env },
    )
  } catch (error) {
    return report(error, { stdout, stderr }, { json: asksForJson(args) })
  }
}
