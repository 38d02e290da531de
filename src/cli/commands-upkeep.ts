/** The commands that free what is not in use, and what shall be in use no more, as data. See program.ts,
 *  rfc/14. */

import { json, namespace, place } from './options.js'
import type { CommandSpec } from './program.js'

export const upkeepCommands: readonly CommandSpec[] = [
  {
    name: 'gc',
    summary: 'free what no root, pin or reader needs, while the store is used',
    description:
      'Free the blobs and nodes that no newest or retained root, no pin and no open reader needs. Writers ' +
      'and watchers go on. A collection also begins by itself when there is much to free. The file does not ' +
      'shrink: what is freed is written again.',
    options: [{ flags: '--dry-run', text: 'only say what would go' }, json, ...place],
    examples: ['tailrace gc', 'tailrace gc --dry-run', 'tailrace gc --json'],
    load: async () => (await import('./upkeep.js')).gc,
  },
  {
    name: 'forget',
    summary: 'take a key out of the current tree, the history and the pins, for good',
    description:
      'Remove a key, and all below it, from the current tree, every retained root and every pin of its ' +
      'namespace. The refs of those roots change. Its bytes go with the next "gc", unless another key has ' +
      'the same ones. There is no way back.',
    parameters: ['<key>'],
    options: [namespace, json, ...place],
    examples: ['tailrace forget secrets/token', 'tailrace forget -n staging old/logs --json'],
    load: async () => (await import('./upkeep.js')).forget,
  },
]
