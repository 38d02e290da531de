/** The commands that take a store out, in, and check it, as data. See program.ts, rfc/15. */

import { at, json, namespace, place, utc } from './options.js'
import type { CommandSpec } from './program.js'

export const backupCommands: readonly CommandSpec[] = [
  {
    name: 'export',
    summary: "write a namespace's tree as one stream that proves itself",
    description:
      "Write a namespace's keys with their values, at one root, to a file or to stdout (-). " +
      'With --since only what that root does not have: an import of it wants just that root.',
    options: [
      namespace,
      at,
      { flags: '--since <seq|ref>', text: 'only what came after that root' },
      { flags: '--skip-damaged', text: 'leave out what cannot be read, list it, and end with 1' },
      { flags: '-o, --output <file>', text: 'the file (default: stdout)' },
      json,
      ...place,
    ],
    examples: [
      'tailrace export -o backup.tailrace',
      'tailrace export -n staging | ssh host tailrace import -n staging',
      'tailrace export --since 120 -o difference.tailrace',
    ],
    load: async () => (await import('./transfer.js')).exportTree,
  },
  {
    name: 'import',
    summary: 'make a namespace what an export has, in one commit',
    description:
      'Read an export from a file or stdin (-) into a namespace, which is made if it is missing. ' +
      'A stream that is damaged or cut imports nothing.',
    parameters: ['[file]'],
    options: [
      namespace,
      { flags: '--replace', text: 'also where there are keys: they go' },
      json,
      ...place,
    ],
    examples: [
      'tailrace import backup.tailrace -n restored',
      'tailrace import backup.tailrace --replace',
    ],
    makesStore: true,
    load: async () => (await import('./transfer.js')).importTree,
  },
  {
    name: 'verify',
    summary: 'check the file of an export, without a store',
    parameters: ['<file>'],
    options: [utc, json],
    examples: ['tailrace verify backup.tailrace'],
    load: async () => (await import('./transfer.js')).verify,
  },
  {
    name: 'fsck',
    summary: 'check the store of a data directory, and repair it',
    description:
      'Load and verify everything that the newest root, retained roots and pins of each namespace need. ' +
      'No server may hold the store (tailrace stop). Exit code 1 says that something was found. ' +
      'With --repair what is damaged in the newest tree moves to lost+found, with what survives of it ' +
      'and a note (.lost) of what does not; nothing else is touched.',
    options: [
      { flags: '--repair', text: 'set what is damaged aside' },
      { flags: '--direct', text: 'in this process', hidden: true },
      json,
      {
        flags: '--data <dir>',
        text: 'data directory (default: $TAILRACE_DATA, or under XDG state)',
      },
    ],
    examples: [
      'tailrace fsck',
      'tailrace fsck --data /backup/tailrace --json',
      'tailrace fsck --repair',
    ],
    load: async () => (await import('./fsck.js')).fsck,
  },
]
