/** The commands on keys, namespaces and events, as data. See program.ts; what they do stands in the modules they load. */

import { cap } from './cap.js'
import { settingsCommands } from './commands-history.js'
import { ifLease } from './lease-guard.js'
import { once, producer } from './once.js'
import { at, expiry, force, json, jsonLines, longNamespace, namespace, place } from './options.js'
import type { CommandSpec } from './program.js'

export const keyCommands: readonly CommandSpec[] = [
  {
    name: 'get',
    summary: "write a key's bytes to stdout",
    parameters: ['<key>'],
    options: [
      namespace,
      at,
      { flags: '--index <n>', text: 'only the blob of that append', excludes: ['offset'] },
      { flags: '--offset <bytes>', text: 'start at that byte' },
      force,
      json,
      ...place,
    ],
    examples: [
      'tailrace get ci/build-7/status',
      'tailrace get big.tar | tar t',
      'tailrace get log --index 0',
    ],
    load: async () => (await import('./reads.js')).get,
  },
  {
    name: 'put',
    summary: 'set a key to a value, to a file, or to stdin (-)',
    parameters: ['<key>', '[value]'],
    options: [
      namespace,
      { flags: '--file <path>', text: 'the value is that file' },
      { flags: '--type <mime>', text: 'content type to keep with the key' },
      { flags: '--if-ref <ref>', text: 'only if the key has that ref' },
      { flags: '--if-absent', text: 'only if the key is not there', excludes: ['ifRef'] },
      ...ifLease,
      ...expiry,
      ...cap,
      ...once,
      json,
      ...place,
    ],
    examples: [
      'tailrace put greeting "hello"',
      'tar c src | tailrace put src.tar -',
      'tailrace put a --file a.bin',
      'tailrace put session/7 active --ttl 30m',
      "tailrace lease run job -- sh -c 'make report | tailrace put report - --if-lease job'",
    ],
    makesStore: true,
    load: async () => (await import('./writes.js')).put,
  },
  {
    name: 'append',
    summary: 'append a value, or stdin (-), to a key',
    parameters: ['<key>', '[value]'],
    options: [
      namespace,
      {
        flags: '--lines',
        text: 'one append for each line of stdin, as it comes',
        excludes: ['stream'],
      },
      { flags: '--stream', text: 'append stdin as it comes, in pieces of any size' },
      { flags: '--seal', text: 'end the key: nothing can be appended after' },
      ...ifLease,
      ...expiry,
      ...cap,
      ...producer,
      ...once,
      json,
      ...place,
    ],
    examples: [
      'tailrace append log "first"',
      'make 2>&1 | tailrace append log - --lines',
      'make 2>&1 | tailrace append log - --lines --keep 1000',
      'tailrace append log --seal',
      'tailrace append log "third" --producer ci --epoch 0 --seq 2',
    ],
    makesStore: true,
    load: async () => (await import('./writes.js')).append,
  },
  {
    name: 'rm',
    summary: 'remove keys',
    parameters: ['<key...>'],
    options: [
      namespace,
      { flags: '-r, --recursive', text: 'directories with all that is in them' },
      { flags: '-f, --force', text: 'a missing key is no error' },
      ...ifLease,
      ...once,
      json,
      ...place,
    ],
    examples: ['tailrace rm greeting', 'tailrace rm -r ci/build-7'],
    load: async () => (await import('./writes.js')).rm,
  },
  {
    name: 'ls',
    summary: 'list a directory',
    parameters: ['[key]'],
    options: [
      namespace,
      at,
      { flags: '-l, --long', text: 'type, count and bytes too', excludes: ['json'] },
      { flags: '-R, --recursive', text: 'all that is below, at any depth' },
      {
        flags: '-0, --null',
        text: 'names as they are, each followed by a NUL',
        excludes: ['long', 'json'],
      },
      { flags: '--after <name>', text: 'start after that name' },
      { flags: '--limit <n>', text: 'at most so many names (default: all)' },
      json,
      ...place,
    ],
    examples: ['tailrace ls', 'tailrace ls -l ci', 'tailrace ls -R ci --json'],
    load: async () => (await import('./reads.js')).ls,
  },
  {
    name: 'stat',
    summary: "show a key's type, ref, count and size",
    parameters: ['<key>'],
    options: [
      namespace,
      at,
      { flags: '--nofollow', text: 'of a link, the link itself' },
      json,
      ...place,
    ],
    examples: ['tailrace stat log', 'tailrace stat latest --nofollow --json'],
    load: async () => (await import('./reads.js')).stat,
  },
  {
    name: 'mkdir',
    summary: 'make directories, with their parents',
    parameters: ['<key...>'],
    options: [namespace, ...ifLease, json, ...place],
    examples: ['tailrace mkdir ci/artifacts'],
    makesStore: true,
    load: async () => (await import('./writes.js')).mkdir,
  },
  {
    name: 'ln',
    summary: 'make a symbolic link to a key',
    parameters: ['<target>', '<key>'],
    options: [
      namespace,
      { flags: '-s, --symbolic', text: 'the only kind there is; may be left out' },
      { flags: '--target-namespace <name>', text: 'the namespace of the target' },
      ...ifLease,
      json,
      ...place,
    ],
    examples: ['tailrace ln -s ci/build-7 ci/latest'],
    makesStore: true,
    load: async () => (await import('./writes.js')).ln,
  },
  {
    name: 'txn',
    summary: 'commit several changes at once, guarded, or none',
    description:
      'Commit a transaction, from a file or stdin (-): JSON {"guards": [...], "ops": [...]}. ' +
      'Values are text or {"base64": "..."}. See rfc/12 for all ops and guards.',
    parameters: ['[file]'],
    options: [namespace, ...ifLease, ...once, json, ...place],
    examples: [
      'tailrace txn change.json',
      `tailrace txn - <<< '{"guards":[{"key":"lock","absent":true}],"ops":[{"op":"put","key":"lock","value":"me"}]}'`,
    ],
    makesStore: true,
    load: async () => (await import('./txn.js')).txn,
  },
]

export const followCommands: readonly CommandSpec[] = [
  {
    name: 'watch',
    summary: 'follow a key: its appends, or its values',
    description:
      'Follow a key. In append mode (the default) the bytes are printed as they are, from the first ' +
      'one, and a sealed key ends the watch; a key that was overwritten ends it with an error. In ' +
      'value mode each value is printed on a line of its own.',
    parameters: ['<key>'],
    options: [
      longNamespace,
      { flags: '--mode <mode>', text: 'append or value (default: append)' },
      { flags: '--from <index>', text: 'start at that append; -5: the last five' },
      { flags: '--offset <bytes>', text: 'start at that byte' },
      { flags: '-n, --last <n>', text: 'start with the last n appends' },
      { flags: '--wait-create', text: 'wait until the key is there' },
      { flags: '--uniq', text: 'value mode: only values that differ from the one before' },
      { flags: '--lease', text: "value mode: who holds the key's lease, too" },
      { flags: '--no-follow', text: 'end when all that is there was printed' },
      force,
      json,
      ...place,
    ],
    examples: [
      'tailrace watch log',
      'tailrace watch log -n 10',
      'tailrace watch status --mode value --uniq',
      'tailrace watch log --json',
    ],
    makesStore: 'waitCreate',
    load: async () => (await import('./watch.js')).watch,
  },
]

export const namespaceCommands: readonly CommandSpec[] = [
  {
    name: 'root',
    summary: "show a namespace's root: seq and ref",
    options: [
      namespace,
      { flags: '--wait-seq <n>', text: 'wait until the namespace is there' },
      json,
      ...place,
    ],
    examples: ['tailrace root', 'tailrace root -n jobs --json'],
    load: async () => (await import('./reads.js')).root,
  },
  {
    name: 'ns',
    summary: 'list, create, configure and remove namespaces',
    commands: [
      {
        name: 'list',
        summary: 'list namespaces',
        options: [json, ...place],
        examples: ['tailrace ns list'],
        load: async () => (await import('./namespaces.js')).list,
      },
      {
        name: 'create',
        summary: 'create a namespace, empty or with the tree of another one',
        parameters: ['<name>'],
        options: [
          { flags: '--from <namespace>', text: 'begin with its tree, by reference' },
          { flags: '--at <seq|ref>', text: 'as it was at that retained root' },
          json,
          ...place,
        ],
        examples: ['tailrace ns create staging', 'tailrace ns create try --from primary --at 120'],
        makesStore: true,
        load: async () => (await import('./namespaces.js')).create,
      },
      {
        name: 'remove',
        summary: 'remove a namespace and all that is in it',
        parameters: ['<name>'],
        options: [json, ...place],
        examples: ['tailrace ns remove staging'],
        load: async () => (await import('./namespaces.js')).remove,
      },
      ...settingsCommands,
    ],
    examples: ['tailrace ns create staging', 'tailrace ns list', 'tailrace ns remove staging'],
  },
]

export const eventCommands: readonly CommandSpec[] = [
  {
    name: 'eventlog',
    summary: 'append, read, follow and await events',
    commands: [
      {
        name: 'append',
        summary: 'append one event; its context is JSON',
        parameters: ['<key>', '<name>', '[context]'],
        options: [
          namespace,
          { flags: '--seal', text: 'end the log' },
          { flags: '--timestamp <seconds>', text: 'seconds since 1970 (default: now)' },
          ...cap,
          ...ifLease,
          json,
          ...place,
        ],
        examples: [`tailrace eventlog append deploy start '{"version":"1.2"}'`],
        makesStore: true,
        load: async () => (await import('./eventlog.js')).append,
      },
      {
        name: 'get',
        summary: 'print the events that are there, one JSON object a line',
        parameters: ['<key>'],
        options: [namespace, at, jsonLines, ...place],
        examples: ['tailrace eventlog get deploy'],
        load: async () => (await import('./eventlog.js')).get,
      },
      {
        name: 'follow',
        summary: 'print the events, then each new one, until the log is sealed',
        parameters: ['<key>'],
        options: [
          namespace,
          { flags: '--wait-create', text: 'wait until the log is there' },
          jsonLines,
          ...place,
        ],
        examples: ['tailrace eventlog follow deploy'],
        makesStore: 'waitCreate',
        load: async () => (await import('./eventlog.js')).follow,
      },
      {
        name: 'wait-event',
        summary: 'wait for the first event of a name and print it',
        parameters: ['<key>', '<name>'],
        options: [
          { flags: '--wait-create', text: 'wait until the log is there' },
          namespace,
          jsonLines,
          ...place,
        ],
        examples: [
          'tailrace eventlog wait-event deploy finish',
          'tailrace eventlog wait-event --wait-create --timeout 10m deploy finish',
        ],
        load: async () => (await import('./eventlog.js')).waitEvent,
      },
    ],
    examples: [
      `tailrace eventlog append deploy start '{"version":"1.2"}'`,
      'tailrace eventlog follow deploy',
    ],
  },
]
