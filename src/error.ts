/** The one error class and the closed list of its codes. See rfc/2.
 *  Invariant: every error that leaves a public function is a TailraceError with a code of this
 *  list, or a bug. Branch on the code, never on the message. */

/** All codes. rfc/2 says what each means, and what the caller should do. */
export const codes = [
  'EINVAL',
  'ENOENT',
  'ENONS',
  'EEXIST',
  'EISDIR',
  'ENOTDIR',
  'ENOTEMPTY',
  'ELOOP',
  'EPERM',
  'EUNAUTH',
  'ECONFLICT',
  'EFENCED',
  'ESEALED',
  'EOVERWRITTEN',
  'ECOMPACTED',
  'E2BIG',
  'EBUSY',
  'EDQUOT',
  'ENOSPC',
  'EIO',
  'ECORRUPT',
  'EDANGLING',
  'EUNKNOWN',
  'ECANCELED',
  'ETIMEDOUT',
  'ECLOSED',
  'EMISCONFIGURED',
] as const

/** One of `codes`. */
export type Code = (typeof codes)[number]

/** The property of the errors of every copy of this file. A process may have several: a command that
 *  is built into one file, and the package of the program that it runs. */
const brand = Symbol.for('tailrace.TailraceError')

/** An error with a code of the list; its message says what failed and what to do about it. `failed`
 *  is set only where a transaction was refused. An error of another copy of this package in the
 *  process is an instance, too. See rfc/2. */
export class TailraceError extends Error {
  static {
    Object.defineProperty(TailraceError.prototype, brand, { value: true })
  }

  /** True for a TailraceError, whichever copy of this package made it. */
  static override [Symbol.hasInstance](value: unknown): value is TailraceError {
    return typeof value === 'object' && value !== null && brand in value
  }

  readonly code: Code
  readonly failed: Failed | undefined

  constructor(
    code: Code,
    message: string,
    options?: { readonly cause?: unknown; readonly failed?: Failed },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'TailraceError'
    this.code = code
    this.failed = options?.failed
  }

  /** Returns `TailraceError [ECONFLICT]: what happened`, in the form of Node's own errors. */
  override toString(): string {
    return `TailraceError [${this.code}]: ${this.message}`
  }
}

/** The part of a transaction that failed (exactly one of `guard` and `op`, counted from 0), and the
 *  state that it met, as plain JSON. */
export type Failed = {
  readonly guard?: number
  readonly op?: number
  readonly state?: unknown
}

const known: ReadonlySet<string> = new Set(codes)

/** True if `error` is a TailraceError with this code. */
export function isCode(error: unknown, code: Code): error is TailraceError {
  return error instanceof TailraceError && error.code === code
}

/** Returns the code that `input` is; undefined for anything else. */
export function parseCode(input: unknown): Code | undefined {
  return typeof input === 'string' && known.has(input) ? (input as Code) : undefined
}

/** Returns any thrown thing as a TailraceError. A TailraceError stays as it is; an abort or a
 *  time-out becomes what `canceled` returns for its signal. Of the system's errors ENOSPC and
 *  EDQUOT keep their code, EACCES and EPERM become EPERM. Everything else becomes EIO, with the
 *  thrown thing as cause. */
export function toTailraceError(error: unknown): TailraceError {
  if (error instanceof TailraceError) return error
  if (!(error instanceof Error)) return new TailraceError('EIO', String(error), { cause: error })
  if (error.name === 'AbortError') return canceledBy(error.cause ?? error)
  if (error.name === 'TimeoutError') return canceledBy(error)
  const system = 'code' in error ? error.code : undefined
  return new TailraceError(kept(system) ?? 'EIO', error.message, { cause: error })
}

/** Returns our code for a system error that means the same here; undefined for others. */
function kept(system: unknown): Code | undefined {
  if (system === 'EACCES' || system === 'EPERM') return 'EPERM'
  return system === 'ENOSPC' || system === 'EDQUOT' ? system : undefined
}

/** Returns the error for an aborted signal: its reason if that is a TailraceError, ETIMEDOUT if its
 *  time ran out (`AbortSignal.timeout`), else ECANCELED. */
export function canceled(signal: { readonly reason: unknown }): TailraceError {
  return canceledBy(signal.reason)
}

function canceledBy(reason: unknown): TailraceError {
  if (reason instanceof TailraceError) return reason
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new TailraceError('ETIMEDOUT', 'not done in the time it was given', { cause: reason })
  }
  return new TailraceError('ECANCELED', 'canceled by the caller', { cause: reason })
}

/** True if an error of node:fs has the system's code, such as `ENOENT`. */
export function hasSystemCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** True if an error of node:fs says that the disk, or the quota, is full. */
export function isFullError(error: unknown): boolean {
  return hasSystemCode(error, 'ENOSPC') || hasSystemCode(error, 'EDQUOT')
}

/** Returns the message of what was thrown, for the message of another error. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The longest message and the longest stack that are recorded of an error, in characters. */
const [messageMax, stackMax] = [4_096, 16_384]

/** Facts of an error, as records have them. */
export type ErrorRecord = {
  readonly message: string
  /** The code of a TailraceError, or of another error that has one. */
  readonly code?: string
  readonly stack?: string
}

/** Returns the facts of what was thrown. Long texts are cut. */
export function errorRecordOf(thrown: unknown): ErrorRecord {
  const message = cut(reasonOf(thrown), messageMax)
  if (!(thrown instanceof Error)) return { message }
  const code =
    'code' in thrown && typeof thrown.code === 'string' ? cut(thrown.code, 64) : undefined
  const { stack } = thrown
  return {
    message,
    ...(code !== undefined && { code }),
    ...(typeof stack === 'string' && { stack: cut(stack, stackMax) }),
  }
}

function cut(text: string, longest: number): string {
  return text.slice(0, longest).toWellFormed()
}

/** Returns a handler of rejections that takes one code for undefined. */
export function unless(code: Code): (error: unknown) => undefined {
  return (error) => {
    if (!isCode(error, code)) throw error
    return undefined
  }
}
