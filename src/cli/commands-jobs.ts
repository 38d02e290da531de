/** The commands on jobs and servers, as data. See program.ts. */

import { data, json, place, utc } from './options.js'
import type { CommandSpec, OptionSpec } from './program.js'

const submission: readonly OptionSpec[] = [
  { flags: '--cwd <dir>', text: 'directory to run in (default: this one)' },
  { flags: '--env <name=value>', text: 'set a variable; stored with the job', many: true },
  {
    flags: '--pty',
    text: 'a terminal for the job, of the size of ours; it shows stdout and stderr as one',
  },
  {
    flags: '--merge',
    text: 'stdout and stderr through one pipe, in the order of the program, as stdout',
  },
  {
    flags: '--time-limit <time>',
    text: 'end the job when it has run for: 90s, 15m; exit code 124',
  },
  {
    flags: '--start-at <time>',
    text: 'begin at that time: 2026-01-31T22:00; lost if the server stops before',
  },
  { flags: '--delay <time>', text: 'begin so long from now: 90s, 15m', excludes: ['startAt'] },
  { flags: '--name <name>', text: 'for people; `jobs` shows it' },
  { flags: '--umask <mode>', text: 'file mode creation mask, octal (default: as here)' },
  {
    flags: '--limit <name=n>',
    text: 'a soft limit by its name in prlimit(1), as nofile=1024 (default: as here)',
    many: true,
  },
  { flags: '--nice <n>', text: 'niceness (default: as here)' },
  { flags: '--keep-children', text: 'what the command leaves running goes on when it has ended' },
]

export const jobCommands: readonly CommandSpec[] = [
  {
    name: 'run',
    summary: 'run a command as a job and show its output out of the store',
    description:
      'Run a command as a job: in this directory, with this environment. Its output goes into the ' +
      "store and is shown from there. The exit code is the job's. Ctrl-C goes to the job, a second " +
      'one kills it; when the reader of the output goes away, the job is ended. Stdin is read only ' +
      'with -i; without it the job finds an empty one.',
    parameters: ['<command...>'],
    passThrough: true,
    options: [
      { flags: '-i, --stdin', text: 'give the job our stdin' },
      { flags: '--no-stdin', text: 'give the job an empty stdin (the default)' },
      { flags: '-v, --verbose', text: "print the job's id first, to stderr" },
      ...submission,
      ...place,
    ],
    examples: [
      'tailrace run -- make -j2',
      'tailrace run sh -c "echo out; echo err >&2; exit 3"',
      'tailrace run -i -- sort < names',
      'tailrace run --pty -- vi notes',
    ],
    makesStore: true,
    load: async () => (await import('./run.js')).run,
  },
  {
    name: 'submit',
    summary: "submit a command as a job and print the job's id",
    parameters: ['<command...>'],
    passThrough: true,
    options: [...submission, json, ...place],
    examples: ['tailrace submit -- make test', 'ID=$(tailrace submit sleep 60)'],
    makesStore: true,
    load: async () => (await import('./jobs.js')).submit,
  },
  {
    name: 'attach',
    summary: "show a job's output, running or finished, from its first byte or nearer its end",
    parameters: ['<id>'],
    options: [
      { flags: '--tail <n>', text: 'begin with the last so many lines' },
      { flags: '--since <time>', text: 'begin with what came since: 10m, 2h, or a date and time' },
      { flags: '--events', text: "print the job's events instead" },
      ...place,
    ],
    examples: [
      'tailrace attach ID',
      'tailrace attach --tail 10 ID',
      'tailrace attach --since 10m ID',
      'tailrace attach ID --events',
    ],
    load: async () => (await import('./run.js')).attach,
  },
  {
    name: 'jobs',
    summary: 'list jobs, newest first',
    options: [
      { flags: '--after <id>', text: 'go on after that job' },
      { flags: '--limit <n>', text: 'at most so many (default: 50)' },
      { flags: '--all', text: 'all of them; with --json a line for each 1,000' },
      {
        flags: '--state <states>',
        text: 'only some of submitted,running,finished,lost,failed (failed: lost, or not exit code 0)',
      },
      { flags: '--name <name>', text: 'only those of that name' },
      json,
      ...place,
    ],
    examples: [
      'tailrace jobs',
      'tailrace jobs --state running,failed',
      'tailrace jobs --limit 5 --json',
      'tailrace jobs rm ID',
    ],
    load: async () => (await import('./jobs.js')).jobs,
    commands: [
      {
        name: 'rm',
        summary: 'remove finished jobs with their output, for good',
        description:
          'Remove finished jobs: command line, events and output, out of the past and the pins of the ' +
          'namespace jobs too; "tailrace gc" then frees their bytes. A job that waits or runs is ' +
          'refused. With --output only the output goes, and the job stays in the list.',
        parameters: ['[id...]'],
        options: [
          { flags: '--older-than <time>', text: 'all that finished so long ago: 90s, 12h, 7d' },
          { flags: '--output', text: 'of the named jobs the output only' },
          { flags: '--dry-run', text: 'only say which' },
          json,
          ...place,
        ],
        examples: [
          'tailrace jobs rm ID',
          'tailrace jobs rm --older-than 7d --dry-run',
          'tailrace jobs rm --output ID',
        ],
        load: async () => (await import('./jobs-rm.js')).remove,
      },
    ],
  },
  {
    name: 'wait',
    summary: 'wait until jobs have finished; the exit code is that of the first one that failed',
    description:
      'Wait until all jobs have finished. The exit code is 0 if all of them ended with 0, otherwise that ' +
      'of the first one, as they are named, that did not. With --json each is printed as it ends.',
    parameters: ['<id...>'],
    options: [json, ...place],
    examples: ['tailrace wait ID', 'tailrace wait $A $B'],
    load: async () => (await import('./jobs.js')).wait,
  },
  {
    name: 'signal',
    summary: "send a signal to a job's process group",
    parameters: ['<id>', '[signame]'],
    options: [json, ...place],
    examples: ['tailrace signal ID', 'tailrace signal ID SIGKILL', 'tailrace signal ID INT'],
    load: async () => (await import('./jobs.js')).signal,
  },
]

export const serverCommands: readonly CommandSpec[] = [
  {
    name: 'serve',
    summary: 'serve the data directory, in the foreground',
    parameters: [],
    options: [
      {
        flags: '--data <dir>',
        text: 'data directory (default: $TAILRACE_DATA, or under XDG state)',
      },
      {
        flags: '--listen <host:port>',
        text: 'TCP as well; port 0: a free one; needs the token',
        many: true,
      },
      {
        flags: '--insecure-listen',
        text: 'allow an address that is not loopback, without TLS',
        needs: '--listen',
      },
      { flags: '--allow-origin <origin>', text: 'a web page that may call', many: true },
      {
        flags: '--allow-host <host>',
        text: 'a Host header that may call',
        many: true,
        needs: '--listen',
      },
      { flags: '--idle-exit [ms]', text: 'end when idle for so long (default: 5 minutes)' },
      { flags: '--jobs <n>', text: 'jobs that run at once (default: 64)' },
      json,
      { flags: '--background', text: 'started by a client', hidden: true },
      { flags: '--ready-fd <n>', text: 'closed when the server listens', hidden: true },
    ],
    examples: [
      'tailrace serve',
      'tailrace serve --listen 127.0.0.1:7270',
      'tailrace serve --data ./store --jobs 4',
    ],
    load: async () => (await import('./serve.js')).serve,
  },
  {
    name: 'status',
    summary: 'show the server of the data directory (starts none)',
    options: [utc, json, ...place],
    examples: ['tailrace status', 'tailrace status --json'],
    load: async () => (await import('./control.js')).status,
  },
  {
    name: 'stop',
    summary: 'end the server of the data directory',
    options: [{ flags: '--force', text: 'even while jobs run; they are ended' }, json, ...place],
    examples: ['tailrace stop', 'tailrace stop --force'],
    load: async () => (await import('./control.js')).stop,
  },
  {
    name: 'token',
    summary: 'print the token that TCP clients need',
    options: [json, data],
    examples: ['tailrace token', 'export TAILRACE_TOKEN=$(tailrace token)'],
    load: async () => (await import('./control.js')).token,
  },
  {
    name: 'lptest',
    summary: 'print the ripple test: COUNT lines of LENGTH columns',
    parameters: ['[length]', '[count]'],
    examples: ['tailrace lptest', 'tailrace lptest 2 3', 'tailrace lptest 80 2000000 > ripple.txt'],
    load: async () => (await import('./lptest.js')).lptest,
  },
  {
    name: 'demo',
    summary: 'follow two big jobs out of a temporary store and check every byte',
    options: [{ flags: '--scale <n>', text: 'a fraction 1/n of the bytes (default: 1)' }, json],
    examples: ['tailrace demo', 'tailrace demo --json'],
    load: async () => (await import('./demo.js')).demo,
  },
]
