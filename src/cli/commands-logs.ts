/** The commands on logs, as data. See program.ts; what they do stands in the modules they load. */

import { longNamespace, place } from './options.js'
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
      { flags: '--wait-create', text: 'with --follow: wait until the key is there' },
      longNamespace,
      ...place,
    ],
    examples: ['tail build/log', 'tail build/log -n 3 -f', 'tail build/log -c 100'],
    load: async () => (await import('./tail.js')).tail,
  },
]
