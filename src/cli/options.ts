/** Options that several commands share, each declared once, and what they mean to the store. See
 *  rfc/13; for writes, rfc/19, rule 5, rfc/20, and rfc/9, rule 5. */

import type { CommitOptions } from '../api/kvs.js'
import type { Capping, Expiry, Guard, Producer } from '../api/transaction.js'
import { defined } from '../base/shape.js'
import { tokenOfText } from '../wire/token.js'
import {
  directory,
  flag,
  grouped,
  key,
  namespaceName,
  type OptionValues,
  option,
  UsageError,
  type ValueKind,
  type Variables,
} from './command.js'
import { root } from './roots.js'
import { duration, integer, size } from './units.js'

/** The longest timer of Node, in ms. */
const timeoutMsMax = 2 ** 31 - 1

const timeLimit: ValueKind<number> = {
  parse: (text, what, literal) => {
    const ms = duration.parse(text, what, literal)
    if (ms > 0 && ms <= timeoutMsMax) return ms
    throw new UsageError(`${what} takes a time from 1ms to 24d, not "${text}"`)
  },
}

export const data = option(
  '--data <dir>',
  'data directory (default: $TAILRACE_DATA, or under XDG state)',
  directory,
)

/** Options that name the store, and bound the time of a command. */
export const place = grouped('Which store', {
  data,
  url: option('--url <url>', 'a running server: http(s)://HOST:PORT or unix:/PATH ($TAILRACE_URL)'),
  timeout: option(
    '--timeout <time>',
    'end the command after: 500ms, 90s, 15m (default: a request after 30s of silence)',
    timeLimit,
  ),
})

const namespaceText = 'namespace (default: primary)'

export const namespace = option('-n, --namespace <name>', namespaceText, namespaceName)

/** The namespace of `watch` and `tail`, where `-n` is a number. */
export const longNamespace = option('--namespace <name>', namespaceText, namespaceName)

export const at = option(
  '--at <seq|ref|time>',
  'an older, retained root: its seq, its ref, or a time (10m: ago)',
  root,
)

/** The zone of printed times. */
export const utc = flag('--utc', 'times in UTC (default: the local zone)', { excludes: ['json'] })

const forceText = 'write to a terminal what is not plain text, too'

/** `--force` for commands that write values or print JSON. */
export const force = flag('--force', forceText, { excludes: ['json'] })

/** `--force` for commands that only write values. */
export const forceAlone = flag('--force', forceText)

export const json = flag('--json', 'print JSON, errors too')

/** `--json` for commands that print JSON in any case, one object a line. */
export const jsonLines = flag('--json', 'errors are JSON, too')

export const waitCreate = flag('--wait-create', 'wait until the log is there')

/** Options of writes whose keys expire. */
export const expiry = grouped('How long and how much is kept', {
  ttl: option('--ttl <time>', 'the key goes by itself after: 500ms, 90s, 12h, 7d', duration),
  sliding: flag('--sliding', 'with --ttl: each later append counts anew', { needs: 'ttl' }),
})

export function expiryOf({ ttl, sliding }: OptionValues<typeof expiry>): Expiry {
  return defined({ ttl, sliding: sliding || undefined })
}

/** Options of writes that cap their log. */
export const cap = grouped('How long and how much is kept', {
  keep: option(
    '--keep <n>',
    'from now on each append drops all but the last n (blobs)',
    integer(1),
  ),
  keepBytes: option('--keep-bytes <size>', 'and all but the last bytes: 4096, 64K, 500M', size),
  keepAge: option(
    '--keep-age <time>',
    'and what is older than: 90s, 12h, 7d (up to a minute late)',
    duration,
  ),
  uncap: flag('--uncap', 'from now on appends drop nothing', {
    excludes: ['keep', 'keepBytes', 'keepAge'],
  }),
})

export function capOf({ keep, keepBytes, keepAge, uncap }: OptionValues<typeof cap>): Capping {
  if (uncap) return { cap: null }
  const bounds = defined({ keep, keepBytes, keepAge })
  return Object.keys(bounds).length > 0 ? { cap: bounds } : {}
}

/** Options of writes that are done once, however often they are sent. */
export const once = grouped('Done once', {
  idempotencyKey: option(
    '--idempotency-key <key>',
    'sent again under the same key, it is answered, not done again',
  ),
  idempotencySince: option(
    '--idempotency-since <seq>',
    'the seq of the namespace before it was first sent: EUNKNOWN if it may be done and forgotten',
    integer(),
    { needs: 'idempotencyKey' },
  ),
  exactlyOnce: flag('--exactly-once', 'send it again until it is answered; it is done once'),
})

export function onceOf({
  idempotencyKey,
  idempotencySince,
  exactlyOnce,
}: OptionValues<typeof once>): Pick<
  CommitOptions,
  'idempotencyKey' | 'idempotencySince' | 'exactlyOnce'
> {
  return defined({ idempotencyKey, idempotencySince, exactlyOnce: exactlyOnce || undefined })
}

export const producer = grouped('Done once', {
  producer: option('--producer <id>', 'who appends: with --epoch and --seq it is appended once'),
  epoch: option('--epoch <n>', 'a higher one begins at seq 0 and fences the lower ones', integer()),
  seq: option('--seq <n>', "counts the producer's appends to the key, from 0", integer()),
})

/** Returns the producer that the options name. Throws UsageError where only some of the three are
 *  given. */
export function producerOf({ producer: id, epoch, seq }: OptionValues<typeof producer>): {
  readonly producer?: Producer
} {
  if (id === undefined && epoch === undefined && seq === undefined) return {}
  if (id === undefined || epoch === undefined || seq === undefined) {
    throw new UsageError('--producer, --epoch and --seq go together')
  }
  return { producer: { id, epoch, seq } }
}

/** A token of a lease, as `lease take` prints it. */
export const token: ValueKind<NonNullable<ReturnType<typeof tokenOfText>>> = {
  parse: (text) => {
    const found = tokenOfText(text)
    if (found) return found
    throw new UsageError(`a token is INCARNATION:SEQ, as take prints it, not "${text}"`)
  },
}

/** Options of all commands that write keys: they write only while a lease is held. */
export const ifLease = grouped('Lease', {
  ifLease: option('--if-lease <key>', "only while that key's lease is held with the token", key),
  leaseToken: option(
    '--lease-token <token>',
    'the token, as lease take prints it (default: $TAILRACE_LEASE)',
    token,
    { needs: 'ifLease' },
  ),
})

/** Returns the guard of the lease that the options name, or no guard. Throws UsageError where the
 *  token is missing. */
export function leaseGuards({
  options,
  environment,
}: {
  readonly options: OptionValues<typeof ifLease>
  readonly environment: Variables
}): readonly Guard[] {
  const { ifLease: lease, leaseToken } = options
  if (lease === undefined) return []
  const held = environment.TAILRACE_LEASE
  if (leaseToken) return [{ lease, token: leaseToken }]
  if (held) return [{ lease, token: token.parse(held, '$TAILRACE_LEASE', false) }]
  throw new UsageError(
    '--if-lease takes its token from --lease-token or $TAILRACE_LEASE: none is there',
  )
}
