/** `tailrace lease run`: a command while a lease is held. See rfc/9.
 *  Invariant: the command and what it started do not go on when the lease may be another's: it is
 *  ended when a renewal is refused, and when none was answered in the time that the last one
 *  gave. */

import { setTimeout as delay } from 'node:timers/promises'
import { isatty } from 'node:tty'
import type { Store } from '../api/store.js'
import type { Scope, Token } from '../api/transaction.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { textOfToken } from '../wire/token.js'
import { argument, command, commandGroup, flag, key, program } from './command.js'
import { KeptCommand } from './kept-command.js'
import { leaseCommands, scopeOf, takeLease, taking, takingOf, tokenOf } from './leases.js'
import { namespace, place } from './options.js'
import { withStore } from './session.js'
import { type PassedSignal, PassedSignals } from './signals.js'
import { checkVariables } from './utf8.js'

/** Shares of the ttl: a lease is renewed after a third of it, and a failed renewal is tried again
 *  after a tenth. */
const renewShare = 3
const retryShare = 10

type Hold = Scope & { readonly key: string; readonly token: Token; readonly ttl: number }

const run = command({
  name: 'run',
  summary: 'run a command while a lease is held, and exit with its code',
  description:
    'Take a lease (waiting until it is free), run a command, renew the lease at a third of its ' +
    'time, and release it when the command ends. If it is lost, the command and all that it ' +
    'started are ended (SIGTERM, then SIGKILL after 5 s) and the exit code is 4; they are killed, ' +
    'too, when this process is. The command, which stands behind --, finds the token in ' +
    'TAILRACE_LEASE, where --if-lease of put, append and other writes looks for it.',
  parameters: { key: argument('<key>', key), command: argument('<command...>', program) },
  options: {
    ...taking,
    wait: flag('--no-wait', 'ECONFLICT at once if it is held'),
    namespace,
    ...place,
  },
  examples: [
    'tailrace lease run deploy -- ./deploy.sh',
    'tailrace lease run cron/daily --ttl 10s -- make -j4 report',
    "tailrace lease run job -- sh -c './work | tailrace put result - --if-lease job'",
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options } = call
    const [program = '', ...rest] = args.command
    checkVariables(call.environment)
    const scope = scopeOf(options)
    const { ttl, owner } = takingOf(options)
    return withStore(call, async (store) => {
      using signals = new PassedSignals()
      await using command = new KeptCommand()
      const asked = { ttl, owner, wait: options.wait, ...scope, signal: signals.interrupted }
      const taken = await takeLease(store, args.key, asked)
      if (!taken) return signals.exitCode
      const hold = { ...scope, key: args.key, token: tokenOf(taken.committed), ttl }
      try {
        if (signals.exitCode !== undefined) return signals.exitCode
        const env = { ...process.env, TAILRACE_LEASE: textOfToken(hold.token) }
        command.start(program, rest, env)
        signals.passTo(passedTo(command))
        return await whileHeld(store, hold, { command, sent: taken.sent })
      } finally {
        signals.keep()
        await release(store, hold)
      }
    })
  },
})

export const lease = commandGroup({
  name: 'lease',
  summary: 'hold a key, so that one at a time does what it stands for',
  description:
    'A lease belongs to a key, there or not, and is held until its time is over unless it is renewed. ' +
    'Its token fences writes: those with --if-lease KEY are refused once it is lost, however late they come; ' +
    'in txn the guard is {"lease": KEY, "token": TOKEN}. Who waits for a lease is woken by its end: nothing polls.',
  commands: [...leaseCommands, run],
  examples: [
    'tailrace lease run deploy -- ./deploy.sh',
    'tailrace lease take deploy',
    'tailrace lease show deploy',
  ],
})

async function whileHeld(
  store: Store,
  hold: Hold,
  { command, sent }: { readonly command: KeptCommand; readonly sent: number },
): Promise<number> {
  const done = new AbortController()
  const expired = command.expired.then(() => lostBy(hold.key, overdue))
  const lost = keep(store, hold, { command, sent, signal: done.signal })
  try {
    const loss = await Promise.race([expired, command.exited.then(() => undefined), lost])
    if (!loss) return await command.exited
    await command.end()
    throw loss
  } finally {
    done.abort()
    await lost
  }
}

/** Renews the lease until the signal, and then returns undefined. Returns an error as soon as the
 *  lease is lost. Never throws. `sent` is the time when the take was sent. The lease is held for
 *  its ttl from the time when the last answered take or renewal was sent. */
async function keep(
  store: Store,
  hold: Hold,
  options: {
    readonly command: KeptCommand
    readonly sent: number
    readonly signal: AbortSignal
  },
): Promise<TailraceError | undefined> {
  const { command, sent, signal } = options
  const { key, token, ttl, ...scope } = hold
  let until = sent + ttl
  command.holdFor(Math.max(0, until - performance.now()))
  let next = sent + ttl / renewShare
  for (;;) {
    await delay(Math.max(0, next - performance.now()), undefined, { signal }).catch(() => {})
    if (signal.aborted) return undefined
    const asked = performance.now()
    const timeout = AbortSignal.any([
      signal,
      AbortSignal.timeout(Math.max(1, Math.ceil(until - asked))),
    ])
    try {
      const op = { op: 'lease', key, action: 'renew', token } as const
      await store.commit({ ops: [op] }, { ...scope, signal: timeout })
      until = asked + ttl
      command.holdFor(Math.max(0, until - performance.now()))
      next = asked + ttl / renewShare
    } catch (error) {
      const now = performance.now()
      const over = now >= until
      if (isCode(error, 'EFENCED') || isCode(error, 'ENONS') || over) return lostBy(key, error)
      next = Math.min(now + ttl / retryShare, Math.max(now + 1, until))
    }
  }
}

const overdue = new TailraceError('ETIMEDOUT', 'it was not renewed in its time')

function lostBy(key: string, cause: unknown): TailraceError {
  const { message } = toTailraceError(cause)
  const text = `the lease of ${key} was lost, so the command was ended: ${message}`
  return new TailraceError('EFENCED', text, { cause })
}

/** Releases the lease. A failure is ignored: the lease is lost already, or ends by itself. */
async function release(store: Store, { key, token, ttl: _, ...scope }: Hold): Promise<void> {
  const op = { op: 'lease', key, action: 'release', token } as const
  await store.commit({ ops: [op] }, scope).catch(() => {})
}

/** Returns what passes a signal on to the command. A terminal sends its interrupt to the command
 *  itself, so it is not sent twice. */
function passedTo(command: KeptCommand): (name: PassedSignal) => void {
  // process.stdin would open stdin here, and make it non-blocking for the command, too.
  const terminal = isatty(0)
  return (name) => {
    if (!(terminal && name === 'SIGINT')) command.signal(name)
  }
}
