/** The `tailrace` process, run by its import: see main.ts, and rfc/13.
 *  Invariant: exit code 0 is success, 2 a wrong command line, 130 an interrupt, any other an error
 *  that was said (report.ts); a reader of our output that goes away ends us quietly. */

import { programVersion } from '../local/installation.js'
import { colorAsked } from './command-line.js'
import { commandGroups } from './commands.js'
import { hasColors, Output } from './output.js'
import { asksForJson, runProgram } from './program.js'
import { report } from './report.js'
import { serveVariables } from './serve-options.js'
import { checkArguments, checkVariables } from './utf8.js'

/** Environment variables that name a directory, a server, a token or a file. */
const variablesRead = [
  'HOME',
  'TAILRACE_CA',
  'TAILRACE_TOKEN',
  'TAILRACE_URL',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
  ...serveVariables,
]

const args = process.argv.slice(2)
const commands = commandGroups.flatMap((group) => group.commands)
const stdout = outputOf(process.stdout)
const stderr = outputOf(process.stderr)

function outputOf(stream: NodeJS.WriteStream): Output {
  const colors = hasColors(colorAsked(commands, args), process.env, stream.isTTY === true)
  return new Output(stream, { colors, dumb: process.env['TERM'] === 'dumb' })
}

// Commands that handle an interrupt themselves (run, serve, lease run, fsck) replace this listener.
process.on('SIGINT', () => process.exit(130))

// No top-level await: modules that are bundled into one file with this one could not be imported
// before it ends.
void main()

async function main(): Promise<void> {
  process.exitCode = await exitCode()
  await stdout.flush()
  await stderr.flush()
  // The event loop may not end by itself: an open stdin or an idle connection would hold the
  // command.
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
