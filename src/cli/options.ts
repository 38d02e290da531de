/** The options that many commands share, each said once. See rfc/13. */

import type { OptionSpec } from './program.js'

export const data: OptionSpec = {
  flags: '--data <dir>',
  text: 'data directory (default: $TAILRACE_DATA, or under XDG state)',
}

/** Which store, and for how long it is asked. */
export const place: readonly OptionSpec[] = [
  data,
  {
    flags: '--url <url>',
    text: 'a running server: http://HOST:PORT or unix:/PATH ($TAILRACE_URL)',
  },
  {
    flags: '--timeout <time>',
    text: 'end the command after: 500ms, 90s, 15m (default: a request after 30s of silence)',
  },
]

export const namespace: OptionSpec = {
  flags: '-n, --namespace <name>',
  text: 'namespace (default: primary)',
}

/** For `watch`, where -n counts appends. */
export const longNamespace: OptionSpec = {
  flags: '--namespace <name>',
  text: 'namespace (default: primary)',
}

export const at: OptionSpec = {
  flags: '--at <seq|ref>',
  text: 'an older, retained root: its seq or its ref',
}

/** Keys that expire. */
export const expiry: readonly OptionSpec[] = [
  { flags: '--ttl <time>', text: 'the key goes by itself after: 500ms, 90s, 12h, 7d' },
  { flags: '--sliding', text: 'with --ttl: each later append counts anew', needs: '--ttl' },
]

/** For what prints times. */
export const utc: OptionSpec = {
  flags: '--utc',
  text: 'times in UTC (default: the local zone)',
  excludes: ['json'],
}

/** For what writes values. */
export const force: OptionSpec = {
  flags: '--force',
  text: 'write to a terminal what is not plain text, too',
  excludes: ['json'],
}

export const json: OptionSpec = { flags: '--json', text: 'print JSON, errors too' }

/** For what prints JSON, one object a line, in any case. */
export const jsonLines: OptionSpec = { flags: '--json', text: 'errors are JSON, too' }
