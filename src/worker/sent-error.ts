/** Errors as they travel between processes. See rfc/25, rule 10.
 *  Invariant: a TailraceError stays one, and an error of JavaScript keeps its class. Texts and the depth
 *  of causes are bounded, so that a message is. */

import { inspect } from 'node:util'
import { object, shapeOf, text } from '../base/shape.js'
import { type Failed, parseCode, TailraceError } from '../error.js'

/** The longest text of an error, in characters, and the most causes. */
const [textMax, causesMax] = [64 * 1024, 8]

/** An error, as plain data. */
export type SentError = {
  readonly name: string
  readonly message: string
  readonly stack?: string
  /** The code; that of a TailraceError stands in `ours`. */
  readonly code?: string
  readonly ours?: string
  readonly failed?: Failed
  readonly cause?: SentError
  /** A thrown primitive that is no error, by its type and its text. */
  readonly primitive?: string
}

export const sentErrorShape = shapeOf<SentError>(
  {
    ...{ name: text, message: text, stack: text, code: text, ours: text, primitive: text },
    ...{ failed: object, cause: object },
  },
  ['name', 'message'],
)

const classes: Readonly<Record<string, new (message: string) => Error>> = {
  ...{ Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError },
}

/** Returns what was thrown, as plain data. */
export function sentErrorOf(thrown: unknown, depth = 0): SentError {
  if (!(thrown instanceof Error)) {
    const isPlain = thrown === null || ['string', 'number', 'boolean'].includes(typeof thrown)
    return {
      ...{ name: 'Error', message: bounded(isPlain ? String(thrown) : inspect(thrown)) },
      ...(isPlain && { primitive: bounded(JSON.stringify(thrown)) }),
    }
  }
  const { cause } = thrown
  const ours = thrown instanceof TailraceError ? thrown : undefined
  const code = 'code' in thrown ? thrown.code : undefined
  return {
    ...{ name: bounded(String(thrown.name)), message: bounded(String(thrown.message)) },
    ...(typeof thrown.stack === 'string' && { stack: bounded(thrown.stack) }),
    ...(ours ? { ours: ours.code } : typeof code === 'string' && { code: bounded(code) }),
    ...(ours?.failed && { failed: ours.failed }),
    ...(cause !== undefined && depth < causesMax && { cause: sentErrorOf(cause, depth + 1) }),
  }
}

/** Returns what was thrown in another process. */
export function thrownOf(sent: SentError): unknown {
  if (sent.primitive !== undefined) {
    try {
      return JSON.parse(sent.primitive)
    } catch {
      return sent.message
    }
  }
  const { name, message, stack, failed } = sent
  const options = sent.cause && { cause: thrownOf(sent.cause) }
  const ours = parseCode(sent.ours)
  const error = ours
    ? new TailraceError(ours, message, { ...options, ...(failed && { failed }) })
    : new (classes[name] ?? Error)(message)
  const hidden = (value: unknown) => ({ value, configurable: true, writable: true })
  if (!ours && options) Object.defineProperty(error, 'cause', hidden(options.cause))
  if (error.name !== name) Object.defineProperty(error, 'name', hidden(name))
  if (stack !== undefined) Object.defineProperty(error, 'stack', hidden(stack))
  return sent.code === undefined ? error : Object.assign(error, { code: sent.code })
}

function bounded(value: string): string {
  return value.length <= textMax ? value : `${value.slice(0, textMax)}…`
}
