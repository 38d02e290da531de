/** The commands on logs, as data. See program.ts; what they do stands in the modules they load. */

import { ifLease } from './lease-guard.js'
import { force, json, longNamespace, namespace, place } from './options.js'
import type { CommandSpec } from './program.js'

export const logCommands: readonly CommandSpec[] = [
  {
    name: 'tail',
    summary: 'print the last lines of a key, and follow it',
    description:
      'Print the last lines (or bytes) of a key. Only the end of it is read, however long it is. With ' +
      '--follow, what is appended is printed as it comes, until the key is sealed.',
    parameters: ['<key>'],
    options: [
      { flags: '-n, --lines <n>', text: 'the last n lines (default: 10); +n: from line n on' },
      { flags: '-c, --bytes <n>', text: 'the last n bytes; +n: from byte n on' },
      { flags: '-f, --follow', text: 'go on with what is appended' },
      {
        flags: '--wait-create',
        text: 'with --follow: wait until the key is there',
        needs: '--follow',
      },
      force,
      longNamespace,
      ...place,
    ],
    examples: [
      'tailrace tail build/log',
      'tailrace tail build/log -n 3 -f',
      'tailrace tail build/log -c 100',
    ],
    load: async () => (await import('./tail.js')).tail,
  },
  {
    name: 'trim',
    summary: 'drop the oldest appends of a key',
    description:
      'Drop appends from the head of a key. What is left keeps its indices and byte offsets; a watcher ' +
      'that wanted what is gone is told where the key begins now. --older-than goes by times that the ' +
      'store notes about once a minute, and drops nothing that may be younger.',
    parameters: ['<key>'],
    options: [
      { flags: '--keep <n>', text: 'all but the last n appends (blobs)' },
      { flags: '--before <index>', text: 'those before that index' },
      { flags: '--bytes <n>', text: 'all but the last appends that have n bytes' },
      { flags: '--older-than <time>', text: 'those that were there so long ago: 90s, 12h, 7d' },
      namespace,
      ...ifLease,
      json,
      ...place,
    ],
    examples: ['tailrace trim build/log --keep 1000', 'tailrace trim build/log --older-than 7d'],
    load: async () => (await import('./trim.js')).trim,
  },
]
