/** Reports of errors: one line on stderr, or one JSON object on stdout, and an exit code. See
 *  rfc/13, rule 12.
 *  Invariant: the exit code follows from the error's code alone. */

import { defined } from '../base/shape.js'
import { type Code, TailraceError, toTailraceError } from '../error.js'
import { errorBodyOf } from '../wire/status.js'
import { type CommandContext, ConfigurationError, UsageError } from './command.js'
import { BrokenPipe } from './output.js'

const usage = 2
const notThere = 3
const refused = 4
/** The exit code where no server answers, and of `status` where none runs. */
export const noAnswer = 5

/** Exit codes by error code; 1 for all others. */
const exitCodes: { readonly [code in Code]?: number } = {
  ENOENT: notThere,
  ENONS: notThere,
  ECOMPACTED: notThere,
  ECONFLICT: refused,
  EFENCED: refused,
  EEXIST: refused,
  EISDIR: refused,
  ENOTDIR: refused,
  ENOTEMPTY: refused,
  ESEALED: refused,
  EOVERWRITTEN: refused,
  EDQUOT: refused,
  EBUSY: refused,
  ECLOSED: noAnswer,
  ETIMEDOUT: noAnswer,
  EUNKNOWN: noAnswer,
}

/** Reports an error and returns the exit code. A reader that has gone is no error. Never throws. */
export async function report(
  error: unknown,
  { stdout, stderr }: Pick<CommandContext, 'stdout' | 'stderr'>,
  { json }: { readonly json: boolean },
): Promise<number> {
  if (error instanceof BrokenPipe) return 0
  const isUsage = error instanceof UsageError
  const problems = error instanceof ConfigurationError ? error.problems : undefined
  const told = isUsage ? new TailraceError('EINVAL', error.message) : withHint(error)
  try {
    // On a terminal both streams share the line. Elsewhere no byte may be added to a value.
    if (json || stdout.isTerminal) await stdout.endLine()
    if (json) await stdout.json({ error: { ...errorBodyOf(told), ...defined({ problems }) } })
    else {
      const code = { color: 'red', text: told.code } as const
      const messages = problems ?? [told.message]
      await stderr.lines(messages.map((message) => ['tailrace: ', code, `: ${message}`]))
    }
  } catch {
    // Nobody reads the output: the exit code alone tells of the error.
  }
  return isUsage ? usage : (exitCodes[told.code] ?? 1)
}

/** Returns the error to tell, with the advice for the command in the place of that for HTTP. */
function withHint(error: unknown): TailraceError {
  if (error instanceof ConfigurationError) return new TailraceError('EMISCONFIGURED', error.message)
  const told = toTailraceError(error)
  if (told.code !== 'EUNAUTH') return told
  const hint = 'set TAILRACE_TOKEN to what "tailrace token" prints where the server runs'
  const said = told.cause instanceof TailraceError ? told.cause.message : told.message
  return new TailraceError('EUNAUTH', `${said}; ${hint}`, { cause: told })
}
