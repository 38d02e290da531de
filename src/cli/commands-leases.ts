/** The commands on leases, as data. See program.ts; what they do stands in the modules they load. */

import { json, namespace, place } from './options.js'
import type { CommandSpec, OptionSpec } from './program.js'

const ttl: OptionSpec = {
  flags: '--ttl <time>',
  text: 'how long it is held unless it is renewed: 500ms, 30s, 5m (default: 30s)',
}
const owner: OptionSpec = {
  flags: '--owner <text>',
  text: 'who holds it, for people (default: USER@HOST pid PID)',
}

export const leaseCommands: readonly CommandSpec[] = [
  {
    name: 'lease',
    summary: 'hold a key, so that one at a time does what it stands for',
    description:
      'A lease belongs to a key, there or not, and is held until its time is over unless it is renewed. ' +
      'Its token fences writes: those with --if-lease KEY are refused once it is lost, however late they come; ' +
      'in txn the guard is {"lease": KEY, "token": TOKEN}. Who waits for a lease is woken by its end: nothing polls.',
    commands: [
      {
        name: 'take',
        summary: 'take a lease and print its token; ECONFLICT while it is held',
        parameters: ['<key>'],
        options: [
          ttl,
          owner,
          { flags: '--wait', text: 'wait until it is free' },
          namespace,
          json,
          ...place,
        ],
        examples: [
          'tailrace lease take deploy --ttl 1m',
          'TOKEN=$(tailrace lease take deploy --wait)',
        ],
        makesStore: true,
        load: async () => (await import('./lease.js')).take,
      },
      {
        name: 'renew',
        summary: 'hold a lease for its time anew, or for another; EFENCED if it is lost',
        parameters: ['<key>', '<token>'],
        options: [
          { flags: '--ttl <time>', text: 'another time, from now on (default: as it was taken)' },
          namespace,
          json,
          ...place,
        ],
        examples: ['tailrace lease renew deploy $TOKEN'],
        load: async () => (await import('./lease.js')).renew,
      },
      {
        name: 'release',
        summary: 'give a lease back; EFENCED if it is lost',
        parameters: ['<key>', '<token>'],
        options: [namespace, json, ...place],
        examples: ['tailrace lease release deploy $TOKEN'],
        load: async () => (await import('./lease.js')).release,
      },
      {
        name: 'show',
        summary: 'show whether a lease is held: exit code 0 if it is, 1 if it is free',
        parameters: ['<key>'],
        options: [namespace, json, ...place],
        examples: ['tailrace lease show deploy', 'tailrace lease show deploy --json'],
        load: async () => (await import('./lease.js')).show,
      },
      {
        name: 'run',
        summary: 'run a command while a lease is held, and exit with its code',
        description:
          'Take a lease (waiting until it is free), run a command, renew the lease at a third of its ' +
          'time, and release it when the command ends. If it is lost, the command and all that it ' +
          'started are ended (SIGTERM, then SIGKILL after 5 s) and the exit code is 4; they are killed, ' +
          'too, when this process is. The command, which stands behind --, finds the token in ' +
          'TAILRACE_LEASE, where --if-lease of put, append and other writes looks for it.',
        parameters: ['<key>', '<command...>'],
        options: [
          ttl,
          owner,
          { flags: '--no-wait', text: 'ECONFLICT at once if it is held' },
          namespace,
          ...place,
        ],
        examples: [
          'tailrace lease run deploy -- ./deploy.sh',
          'tailrace lease run cron/daily --ttl 10s -- make -j4 report',
          "tailrace lease run job -- sh -c './work | tailrace put result - --if-lease job'",
        ],
        makesStore: true,
        load: async () => (await import('./lease-run.js')).run,
      },
    ],
    examples: [
      'tailrace lease run deploy -- ./deploy.sh',
      'tailrace lease take deploy',
      'tailrace lease show deploy',
    ],
  },
]
