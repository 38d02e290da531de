/** The commands that copy and move by reference, and those on links, treeobjs and blobs, as data. See
 *  program.ts; what they do stands in the modules they load. */

import { ifLease } from './lease-guard.js'
import { at, force, json, jsonLines, namespace, place } from './options.js'
import type { CommandSpec, OptionSpec } from './program.js'

const fromNamespace: OptionSpec = {
  flags: '--from-namespace <name>',
  text: 'the namespace of the source (default: that of the target)',
}
const atSource: OptionSpec = {
  flags: '--at <seq|ref>',
  text: 'the source as it was at that retained root',
}
const replace: OptionSpec = {
  flags: '--replace',
  text: 'a directory with keys in it that is in the way goes',
}

export const treeCommands: readonly CommandSpec[] = [
  {
    name: 'cp',
    summary: 'copy a key or a whole directory, by reference',
    description:
      'Copy a key or a whole directory. Nothing is read or written but the name: a tree of a million ' +
      'keys takes as long as one. A link is followed. The target is the name of the copy, also where a ' +
      'directory of that name is there.',
    parameters: ['<source>', '<target>'],
    options: [
      namespace,
      fromNamespace,
      atSource,
      replace,
      { flags: '-r, --recursive', text: 'directories are always whole; may be left out' },
      ...ifLease,
      json,
      ...place,
    ],
    examples: [
      'tailrace cp ci/build-7 ci/good',
      'tailrace cp config config --from-namespace staging --replace',
      'tailrace cp greeting old-greeting --at 12',
    ],
    load: async () => (await import('./copies.js')).cp,
  },
  {
    name: 'mv',
    summary: 'move a key or a whole directory',
    description:
      'Move a key, a link itself, or a whole directory, from another namespace too: in one commit that ' +
      'is in both or in neither.',
    parameters: ['<source>', '<target>'],
    options: [namespace, fromNamespace, replace, ...ifLease, json, ...place],
    examples: [
      'tailrace mv ci/build-7 archive/build-7',
      'tailrace mv report report --from-namespace staging',
    ],
    load: async () => (await import('./copies.js')).mv,
  },
  {
    name: 'fork',
    summary: 'copy the first appends of a log, open again',
    parameters: ['<source>', '<target>'],
    options: [
      { flags: '--count <n>', text: 'so many appends (blobs)' },
      namespace,
      fromNamespace,
      atSource,
      ...ifLease,
      json,
      ...place,
    ],
    examples: ['tailrace fork build/log build/retry --count 3'],
    load: async () => (await import('./copies.js')).fork,
  },
  {
    name: 'restore',
    summary: 'make a key or a directory what it was at an older root',
    description:
      'Make a key, or a whole directory (/ is everything), what it was at a retained root, in one ' +
      'commit. It is removed if it was not there then.',
    parameters: ['<key>'],
    options: [at, namespace, ...ifLease, json, ...place],
    examples: ['tailrace restore config --at 120', 'tailrace restore / --at 120'],
    load: async () => (await import('./copies.js')).restore,
  },
  {
    name: 'link',
    summary: 'make a symbolic link to a key (as ln)',
    parameters: ['<target>', '<key>'],
    options: [
      namespace,
      { flags: '--target-namespace <name>', text: 'the namespace of the target' },
      ...ifLease,
      json,
      ...place,
    ],
    examples: ['tailrace link ci/build-7 ci/latest'],
    makesStore: true,
    load: async () => (await import('./writes.js')).ln,
  },
  {
    name: 'readlink',
    summary: 'print where a link leads',
    parameters: ['<key>'],
    options: [namespace, at, json, ...place],
    examples: ['tailrace readlink ci/latest'],
    load: async () => (await import('./copies.js')).readlink,
  },
  {
    name: 'treeobj',
    summary: "print a key's treeobj, or store one",
    description:
      'Print what a key names: JSON as RFC 11 of Flux has it, with the refs of all blobs of a log. ' +
      '`treeobj put` takes the same. A key of the name `put` is `/put`.',
    parameters: ['<key>'],
    options: [namespace, at, jsonLines, ...place],
    load: async () => (await import('./treeobjs.js')).show,
    commands: [
      {
        name: 'put',
        summary: 'make a key what a treeobj in a file, or from stdin (-), says',
        parameters: ['<key>', '<file>'],
        options: [
          { flags: '--dangling', text: 'blobs and nodes that it names may be missing' },
          namespace,
          ...ifLease,
          json,
          ...place,
        ],
        examples: [
          'tailrace treeobj put copy log.json',
          'tailrace treeobj log | tailrace treeobj put copy -',
        ],
        makesStore: true,
        load: async () => (await import('./treeobjs.js')).put,
      },
    ],
    examples: ['tailrace treeobj build/log', 'tailrace treeobj put copy log.json'],
  },
  {
    name: 'blob',
    summary: 'load and store blobs by their refs',
    commands: [
      {
        name: 'get',
        summary: 'write the bytes of a blob to stdout',
        parameters: ['<ref>'],
        options: [force, json, ...place],
        examples: ['tailrace blob get blake3-…'],
        load: async () => (await import('./treeobjs.js')).getBlob,
      },
      {
        name: 'put',
        summary: 'store a file, or stdin (-), as a blob and print its ref',
        parameters: ['<file>'],
        options: [json, ...place],
        examples: ['tailrace blob put part.bin', 'echo hello | tailrace blob put -'],
        makesStore: true,
        load: async () => (await import('./treeobjs.js')).putBlob,
      },
    ],
    examples: ['tailrace blob put part.bin', 'tailrace blob get blake3-…'],
  },
]
