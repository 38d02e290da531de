/** `tailrace token`: prints the owner's token; makes, lists, renews and revokes access tokens; signs
 *  links.
 *  See rfc/13, rule 11, and rfc/28. */

import type { AccessToken } from '../api/access.js'
import { defined } from '../base/shape.js'
import { ensureToken, hasStore } from '../local/directory.js'
import { findServer, noStore } from '../local/local.js'
import {
  argument,
  command,
  flag,
  jobId,
  key,
  option,
  UsageError,
  type ValueKind,
} from './command.js'
import { data, json, namespace, place, utc } from './options.js'
import { quotedWord } from './quote.js'
import { dataDirectory, namedServer, type PlaceCall, withStore } from './session.js'
import { duration, timeText } from './units.js'

const ttl = option(
  '--ttl <time>',
  'how long it is good for: 90s, 12h, 30d (default: 90 days)',
  duration,
)
const id = argument('<id>')
/** A number above 0, which may have a fraction. */
const rate: ValueKind<number> = {
  parse: (text, what) => {
    const value = Number(text)
    if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value
    throw new UsageError(`${what} takes a number above 0, not "${text}"`)
  },
}

const create = command({
  name: 'create',
  summary: 'make an access token and print it; it is shown this once',
  description:
    'Make an access token and print it; it is shown this once.\n\n' +
    'A grant is RIGHT[,RIGHT…][@NAMESPACE[/KEY]]: it gives rights on a key and all below it, or on a whole ' +
    'namespace (default: primary). NAMESPACE may end with *. The rights are read, watch (with read), append, ' +
    'write, lease, jobs (run commands, as the user of the server), results (a cache layer: @cache-NAME), ' +
    'admin (the namespace itself, and tokens for it), and metrics (of the server; alone, without a place).',
  parameters: { name: argument('<name>'), grants: argument('<grant...>') },
  options: {
    ttl,
    rate: option('--rate <n>', 'how many requests it may send in a second', rate),
    json,
    ...place,
  },
  examples: [
    'tailrace token create reader read,watch@primary/logs --ttl 12h',
    'tailrace token create agent-7 append@primary/agents/7/log read',
    'tailrace token create ci jobs results@cache-ci --json',
    'tailrace token create prometheus metrics --ttl 365d',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const asked = { grants: args.grants, ...defined({ ttl: options.ttl, rate: options.rate }) }
    return withStore(call, async (store) => {
      const made = await store.tokens.create(args.name, asked)
      if (options.json) await stdout.json(made)
      else await stdout.line(made.token)
    })
  },
})

const list = command({
  name: 'ls',
  summary: 'list access tokens: id, name, time of expiry, grants',
  options: { utc, json, ...place },
  examples: ['tailrace token ls', 'tailrace token ls --json'],
  run: async (call) => {
    const { options, stdout } = call
    return withStore(call, async (store) => {
      const tokens = await store.tokens.list()
      if (options.json) return stdout.json({ tokens })
      for (const token of tokens) await stdout.line(lineOf(token, options))
    })
  },
})

const renew = command({
  name: 'renew',
  summary: 'set the time until an access token expires, from now on',
  parameters: { id },
  options: { ttl, utc, json, ...place },
  examples: ['tailrace token renew 4f2a9c01b7de --ttl 30d'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const token = await store.tokens.renew(args.id, defined({ ttl: options.ttl }))
      if (options.json) await stdout.json(token)
      else await stdout.line(lineOf(token, options))
    })
  },
})

const revoke = command({
  name: 'revoke',
  summary: 'revoke an access token and all that it made; what is open with them ends',
  parameters: { id },
  options: { json, ...place },
  examples: ['tailrace token revoke 4f2a9c01b7de'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const revoked = await store.tokens.revoke(args.id)
      if (options.json) await stdout.json({ revoked })
      else for (const each of revoked) await stdout.line(`${each} revoked`)
    })
  },
})

const link = command({
  name: 'link',
  summary: 'print a link that lets who has no token read one key or one job for a while',
  parameters: { key: argument('[key]', key) },
  options: {
    job: option('--job <id>', 'the output of a job, in the place of a key', jobId),
    follow: flag('--follow', 'what comes later, too'),
    ttl: option('--ttl <time>', 'how long it is good for: 90s, 12h, 7d (default: 1h)', duration),
    namespace,
    json,
    ...place,
  },
  examples: [
    'tailrace token link ci/log --follow --ttl 10m',
    'tailrace token link --job $ID --url http://127.0.0.1:7270',
  ],
  run: async (call) => {
    const { args, options, stdout } = call
    const { job, follow, ttl } = options
    if ((args.key === undefined) === (job === undefined)) {
      throw new UsageError('a link is of a key or of a job: give one of them')
    }
    const asked = defined({ key: args.key, job, follow, ttl, namespace: options.namespace })
    return withStore(call, async (store) => {
      const made = await store.tokens.link(asked)
      const origin = await originOf(call)
      if (options.json)
        await stdout.json({ ...made, ...defined({ url: origin && origin + made.path }) })
      else await stdout.line(`${origin ?? ''}${made.path}`)
    })
  },
})

export const token = command({
  name: 'token',
  summary: "print the owner's token, which TCP clients need; make others with fewer rights",
  options: { json, data },
  commands: [create, list, renew, revoke, link],
  examples: [
    'tailrace token',
    'export TAILRACE_TOKEN=$(tailrace token)',
    'tailrace token create reader read,watch@primary/logs',
  ],
  run: async ({ options, environment, stdout }) => {
    const directory = dataDirectory(options.data, environment)
    if (!(await hasStore(directory))) throw noStore(directory)
    const text = await ensureToken(directory)
    if (options.json) await stdout.json({ token: text })
    else await stdout.line(text)
  },
})

/** Returns the origin at which others reach the server; undefined if it has no TCP address. */
async function originOf(call: PlaceCall): Promise<string | undefined> {
  const named = await namedServer(call)
  if (named) return named.url.startsWith('http') ? new URL(named.url).origin : undefined
  const record = await findServer(dataDirectory(call.options.data, call.environment))
  return record?.urls.find((url) => url.startsWith('http'))
}

/** Returns the line of an access token in a list. */
function lineOf(token: AccessToken, times: { readonly utc: boolean }): string {
  const { id, name, expires, rate, grants } = token
  const bound = rate === undefined ? [] : [`${rate}/s`]
  return [id, quotedWord(name), 'until', timeText(expires, times), ...bound, ...grants].join(' ')
}
