/** The commands on the time of a namespace, as data. See program.ts; what they do stands in the modules
 *  they load. */

import { at, json, namespace, place, utc } from './options.js'
import type { CommandSpec } from './program.js'

export const historyCommands: readonly CommandSpec[] = [
  {
    name: 'roots',
    summary: 'list the retained roots: seq, time, ref, pins',
    description:
      'List the roots that can still be read, compared and restored from, oldest first. How many are ' +
      'retained is a setting: see "ns config".',
    options: [
      { flags: '--newest', text: 'newest first' },
      { flags: '--after <seq>', text: 'only those after a seq' },
      { flags: '--before <seq>', text: 'only those before a seq' },
      { flags: '--limit <n>', text: 'at most so many' },
      namespace,
      utc,
      json,
      ...place,
    ],
    examples: ['tailrace roots --newest --limit 10', 'tailrace roots -n staging --json'],
    load: async () => (await import('./history.js')).roots,
  },
  {
    name: 'log',
    summary: 'show what a key was made, newest first',
    description:
      'Show each retained root that changed a key, or anything below a directory: seq, time, what it ' +
      'was made. Links are not followed.',
    parameters: ['<key>'],
    options: [
      { flags: '--before <seq>', text: 'only what was before a seq' },
      { flags: '--limit <n>', text: 'at most so many' },
      namespace,
      utc,
      json,
      ...place,
    ],
    examples: [
      'tailrace log settings/colour',
      'tailrace log settings --limit 20',
      'tailrace log settings/colour --json',
    ],
    load: async () => (await import('./history.js')).log,
  },
  {
    name: 'diff',
    summary: 'show which keys differ between two roots',
    description:
      'Show the keys that were added (A), removed (D) and changed (M) from one root to another. A root ' +
      'is a seq, a ref, or the name of a pin; "now", the default of the second, is the newest.',
    parameters: ['<from>', '[to]', '[prefix]'],
    options: [
      { flags: '-l, --long', text: 'with sizes, before and after', excludes: ['json'] },
      { flags: '--limit <n>', text: 'at most so many' },
      { flags: '--after <key>', text: 'only keys after this one' },
      namespace,
      json,
      ...place,
    ],
    examples: [
      'tailrace diff 120',
      'tailrace diff release-1 now settings',
      'tailrace diff 120 140 -l',
    ],
    load: async () => (await import('./history.js')).diff,
  },
  {
    name: 'pin',
    summary: 'keep a root by name, whatever the retention',
    parameters: ['<name>'],
    options: [at, namespace, json, ...place],
    examples: ['tailrace pin release-1', 'tailrace pin before-cleanup --at 120'],
    load: async () => (await import('./pins.js')).pin,
  },
  {
    name: 'unpin',
    summary: 'let a pinned root go',
    parameters: ['<name>'],
    options: [json, ...place],
    examples: ['tailrace unpin release-1'],
    load: async () => (await import('./pins.js')).unpin,
  },
  {
    name: 'pins',
    summary: 'list the pins of all namespaces',
    options: [utc, json, ...place],
    examples: ['tailrace pins'],
    load: async () => (await import('./pins.js')).pins,
  },
]

/** Of `tailrace ns`. */
export const settingsCommands: readonly CommandSpec[] = [
  {
    name: 'show',
    summary: 'show a namespace and its settings',
    parameters: ['<name>'],
    options: [utc, json, ...place],
    examples: ['tailrace ns show primary'],
    load: async () => (await import('./settings.js')).show,
  },
  {
    name: 'config',
    summary: 'change how much of a namespace is kept',
    description:
      'Change settings of a namespace. Roots are retained while they are among the last --history-count ' +
      'or younger than --history-age, but the oldest go where the history has more than --history-size ' +
      'bytes. What is not given stays; what has gone does not come back.',
    parameters: ['<name>'],
    options: [
      { flags: '--history-count <n>', text: 'roots that are retained however old (default: 4096)' },
      {
        flags: '--history-age <time>',
        text: 'time that all are retained: 90s, 12h, 7d (default: 1h)',
      },
      { flags: '--history-size <bytes>', text: 'bytes of history: 500M, 10G (default: 1G)' },
      { flags: '--quota <bytes>', text: 'bytes of the values that are there now; none: no bound' },
      {
        flags: '--keep-jobs <n>',
        text: 'of jobs: finished ones that are kept; none: all (the default)',
      },
      { flags: '--keep-jobs-age <time>', text: 'of jobs: one goes so long after its end; none' },
      {
        flags: '--keep-jobs-size <bytes>',
        text: 'of jobs: the oldest go above so many bytes; none',
      },
      json,
      ...place,
    ],
    examples: [
      'tailrace ns config primary --history-age 7d',
      'tailrace ns config staging --quota 10G',
      'tailrace ns config jobs --keep-jobs 1000 --keep-jobs-age 30d --keep-jobs-size 10G',
    ],
    makesStore: true,
    load: async () => (await import('./settings.js')).config,
  },
]
