/** The one error class and the closed list of its codes. See rfc/2.
 *  Invariant: every error that leaves a public function is a TailraceError with a code of this list,
 *  or a bug. Branch on the code, never on the message. */

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

export type Code = (typeof codes)[number]

/** What failed and what to do about it. `failed` is only there on a transaction that was refused:
 *  the op or the guard that failed and the state it met. Source: rfc/2. */
export class TailraceError extends Error {
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

  /** `TailraceError [ECONFLICT]: what happened`, as Node's own errors have it. */
  override toString(): string {
    return `TailraceError [${this.code}]: ${this.message}`
  }
}

/** Which part of a transaction failed (exactly one of `guard` and `op`, counted from 0), and what
 *  was there. `state` is plain JSON. */
export type Failed = {
  readonly guard?: number
  readonly op?: number
  readonly state?: unknown
}

const known: ReadonlySet<string> = new Set(codes)

export function isCode(error: unknown, code: Code): error is TailraceError {
  return error instanceof TailraceError && error.code === code
}

export function parseCode(input: unknown): Code | undefined {
  return typeof input === 'string' && known.has(input) ? (input as Code) : undefined
}

/** Any thrown thing as a TailraceError: itself; an abort or a time-out as what its signal says; a full
 *  disk that the system names as ENOSPC or EDQUOT; what it does not allow (EACCES, EPERM) as EPERM; the rest as EIO with its cause. */
export function toTailraceError(error: unknown): TailraceError {
  if (error instanceof TailraceError) return error
  if (!(error instanceof Error)) return new TailraceError('EIO', String(error), { cause: error })
  if (error.name === 'AbortError') return canceledBy(error.cause ?? error)
  if (error.name === 'TimeoutError') return canceledBy(error)
  const system = 'code' in error ? error.code : undefined
  return new TailraceError(kept(system) ?? 'EIO', error.message, { cause: error })
}

/** Code for a system error that keeps its meaning here; undefined for others. */
function kept(system: unknown): Code | undefined {
  if (system === 'EACCES' || system === 'EPERM') return 'EPERM'
  return system === 'ENOSPC' || system === 'EDQUOT' ? system : undefined
}

/** Why an aborted signal was aborted: its reason if that is a TailraceError, ETIMEDOUT where its time
 *  ran out (`AbortSignal.timeout`), else ECANCELED. */
export function canceled(signal: AbortSignal): TailraceError {
  return canceledBy(signal.reason)
}

function canceledBy(reason: unknown): TailraceError {
  if (reason instanceof TailraceError) return reason
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new TailraceError('ETIMEDOUT', 'not done in the time it was given', { cause: reason })
  }
  return new TailraceError('ECANCELED', 'canceled by the caller', { cause: reason })
}
