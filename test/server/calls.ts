/** One call of each request that a server on a new store answers: the examples of the documents, what must be there
 *  before each, and what each is refused for. Shared by the suites of the transports and of OpenAPI. */

import type { EmbeddedStore } from '../../src/open.js'
import { type Example, examples } from '../../src/server/examples.js'
import { toJson } from '../../src/wire/bytes.js'
import { isCall, type RequestSpec } from '../../src/wire/request.js'
import { type RequestName, requests } from '../../src/wire/requests.js'
import { isOptional, type JsonSchema, type Schema } from '../../src/wire/schema.js'
import type { Answer, Serving } from './serving.js'

export type Args = Readonly<Record<string, unknown>>
/** What a set-up made: arguments in the place of the example's, and the body. */
type Made = { readonly args?: Args; readonly upload?: Uint8Array }
type Case = {
  /** Makes what the call needs; it runs before each call. */
  readonly setUp?: (store: EmbeddedStore) => Promise<Made | undefined>
  /** Arguments that are well formed, and what the store says of them. */
  readonly refused?: readonly [args: Args, code: string]
  /** The server ends with the call. */
  readonly last?: true
}

/** Something of each kind, the same each time. */
export async function fill(store: EmbeddedStore): Promise<void> {
  await store.put('greeting', 'hello')
  if (!(await store.stat('ci/log'))) await store.append('ci/log', 'tests began\n')
  const start = { timestamp: 1.5, name: 'start', context: { version: '1.2' } }
  if (!(await store.stat('deploy'))) await store.eventlog('deploy').append([start])
}

const missingKey = [{ key: 'nothing' }, 'ENOENT'] as const
const missingJob = [{ id: 'nothing' }, 'ENOENT'] as const

const cases: { readonly [Name in RequestName]: Case } = {
  'key.get': { refused: missingKey },
  'key.head': { refused: missingKey },
  'key.watch': { refused: [{ since: 'x' }, 'EINVAL'] },
  'key.put': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'key.append': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'key.unlink': { refused: missingKey },
  stat: { refused: missingKey },
  list: { refused: missingKey },
  root: { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  txn: { refused: [{ guards: [{ key: 'greeting', absent: true }] }, 'ECONFLICT'] },
  read: { refused: [{ keys: ['ci'] }, 'EISDIR'] },
  'eventlog.read': { refused: missingKey },
  'eventlog.append': { refused: [{ key: 'ci' }, 'EISDIR'] },
  'history.roots': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'history.diff': { refused: [{ from: 1_000_000 }, 'EINVAL'] },
  'history.log': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'history.pins': { setUp: pinned },
  'history.pin': {
    setUp: unpinned,
    refused: [{ name: 'other', namespace: 'nothing' }, 'ENONS'],
  },
  'history.unpin': { setUp: pinned, refused: [{ name: 'nothing' }, 'ENOENT'] },
  'namespaces.list': {},
  'namespaces.show': { refused: [{ name: 'nothing' }, 'ENONS'] },
  'namespaces.create': {
    setUp: withoutNamespace,
    refused: [{ name: 'primary' }, 'EEXIST'],
  },
  'namespaces.configure': { refused: [{ name: 'nothing' }, 'ENONS'] },
  'namespaces.remove': { setUp: withNamespace, refused: [{ name: 'primary' }, 'EPERM'] },
  'tokens.create': { refused: [{ grants: ['read', 'sudo'] }, 'EINVAL'] },
  'tokens.list': {},
  'links.create': { refused: [{ key: 'greeting', job: 'f1' }, 'EINVAL'] },
  'tickets.create': {},
  'tokens.renew': { setUp: token, refused: [{ id: 'nothing' }, 'ENOENT'] },
  'tokens.revoke': { setUp: token, refused: [{ id: 'nothing' }, 'ENOENT'] },
  'jobs.submit': { refused: [{ command: [], cwd: '/', env: {} }, 'EINVAL'] },
  'jobs.list': { setUp: named },
  'jobs.show': { setUp: ended, refused: missingJob },
  'jobs.events': { setUp: ended, refused: missingJob },
  'jobs.output': { setUp: ended, refused: missingJob },
  'jobs.stdin': {
    setUp: (store) => running(store, { command: ['cat'], stdin: true }),
    refused: missingJob,
  },
  'jobs.signal': { setUp: (store) => running(store, {}), refused: missingJob },
  'jobs.resize': {
    setUp: (store) => running(store, { pty: { columns: 80, rows: 24 } }),
    refused: missingJob,
  },
  'jobs.remove': { setUp: ended, refused: missingJob },
  'jobs.removeOutput': { setUp: ended, refused: missingJob },
  'jobs.prune': {},
  treeobj: { refused: missingKey },
  'treeobj.put': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'blobs.load': {
    setUp: async (store) => ({ args: { ref: await store.blobs.store(Buffer.from('hello')) } }),
    refused: [{}, 'ENOENT'],
  },
  'blobs.store': {},
  'upkeep.export': { refused: [{ namespace: 'nothing' }, 'ENONS'] },
  'upkeep.import': { setUp: exported, refused: [{ namespace: 'jobs' }, 'EPERM'] },
  'upkeep.usage': {},
  'upkeep.collect': {},
  'upkeep.forget': { refused: missingKey },
  'server.health': {},
  'server.ready': {},
  'server.metrics': {},
  'server.status': {},
  'server.stop': { last: true },
  'server.openapi': {},
  'server.docs': {},
}

async function pinned(store: EmbeddedStore): Promise<undefined> {
  await unpinned(store)
  await store.history.pin('release-1')
}

async function unpinned(store: EmbeddedStore): Promise<undefined> {
  if ((await store.history.pins()).length > 0) await store.history.unpin('release-1')
}

async function withoutNamespace(store: EmbeddedStore): Promise<undefined> {
  const all = await store.namespaces.list()
  if (all.some(({ name }) => name === 'builds')) await store.namespaces.remove('builds')
}

async function withNamespace(store: EmbeddedStore): Promise<undefined> {
  await withoutNamespace(store)
  await store.namespaces.create('builds')
}

async function token(store: EmbeddedStore): Promise<Made> {
  const { id } = await store.tokens.create('a token', { grants: ['read'] })
  return { args: { id } }
}

async function exported(store: EmbeddedStore): Promise<Made> {
  await withNamespace(store)
  const pieces: Uint8Array[] = []
  for await (const piece of store.upkeep.export()) pieces.push(piece)
  return { upload: Buffer.concat(pieces) }
}

const env = { PATH: process.env['PATH'] ?? '' }

async function ended(store: EmbeddedStore): Promise<Made> {
  const { id } = await store.jobs.submit({ command: ['echo', 'hello'], cwd: '/', env })
  await store.jobs.wait(id)
  return { args: { id } }
}

async function named(store: EmbeddedStore): Promise<undefined> {
  const name = 'greeter'
  if ((await store.jobs.list({ name })).jobs.length > 0) return
  const command = ['echo', 'hello']
  const { id } = await store.jobs.submit({ command, cwd: '/', env, name })
  await store.jobs.wait(id)
}

async function running(store: EmbeddedStore, how: object): Promise<Made> {
  const submission = { command: ['sleep', '60'], cwd: '/', env, ...how }
  const { id } = await store.jobs.submit(submission)
  // Only what has started has processes and a terminal.
  for await (const { name } of store.jobs.events(id, { follow: true })) if (name === 'start') break
  return { args: { id } }
}

/** A request with its example, and with its case. */
export type Asked = {
  readonly spec: RequestSpec
  readonly example: Example
  readonly case: Case
}

export const askedByName: ReadonlyMap<string, Asked> = new Map(
  Object.entries(cases).flatMap(([name, given]) => {
    const spec = requests.get(name)
    const example = examples.get(name)
    return spec && example ? [[name, { spec, example, case: given }]] : []
  }),
)
const all = [...askedByName.values()]
/** Those that go over the websocket, too. */
export const calls: readonly Asked[] = all.filter(({ spec }) => isCall(spec))
export const httpOnly: readonly Asked[] = all.filter(({ spec }) => !isCall(spec))

/** What a call needs is made, and what it is asked with. */
export async function prepared(store: EmbeddedStore, asked: Asked): Promise<Required<Made>> {
  await fill(store)
  const { args, upload } = (await asked.case.setUp?.(store)) ?? {}
  const given = { ...asked.example.args }
  // A set-up speaks of a job that the example only filters by.
  for (const name of Object.keys(args ?? {})) if (name in given) given[name] = args?.[name]
  return { args: given, upload: upload ?? Buffer.from(asked.example.upload ?? '') }
}

/** Sends a request over HTTP, with each argument in its place; those that it does not know go into the query where
 *  it has no body. */
export function askHttp(
  serving: Serving,
  spec: RequestSpec,
  asked: { readonly args: Args; readonly upload?: Uint8Array; readonly token?: string },
): Promise<Answer> {
  const { args, upload, token } = asked
  const rest: Record<string, unknown> = { ...args }
  const take = (name: string) => {
    const value = rest[name]
    delete rest[name]
    return String(value)
  }
  const path = spec.path
    .replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(take(name)))
    .replace(/\*$/, () => take('key').split('/').map(encodeURIComponent).join('/'))
  const inQuery = ['namespace', ...Object.keys(spec.query ?? {})]
  const names = Object.keys(rest).filter((name) => inQuery.includes(name) && !ofBody(spec, name))
  if (spec.body === undefined) names.splice(0, names.length, ...Object.keys(rest))
  const query = names.map((name) => `${name}=${encodeURIComponent(take(name))}`).join('&')
  const json = spec.body && JSON.stringify(toJson(rest))
  return serving.ask(spec.method, query === '' ? path : `${path}?${query}`, {
    body: spec.upload ? upload : json,
    ...(token === undefined ? {} : { token }),
  })
}

function ofBody({ body }: RequestSpec, name: string): boolean {
  return Object.hasOwn(propertiesOf(body as Schema | undefined), name)
}

function propertiesOf(schema: Schema | undefined): Readonly<Record<string, JsonSchema>> {
  return (schema?.json['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>
}

/** Arguments that both transports can leave out, but must not. */
export function requiredOf({ body, query = {} }: RequestSpec): string[] {
  const inBody = ((body as Schema | undefined)?.json['required'] ?? []) as string[]
  const inQuery = Object.entries(query).filter(([, schema]) => !isOptional(schema as Schema))
  return [...inBody, ...inQuery.map(([name]) => name)]
}

/** A value of the wrong type for each argument that has one over HTTP; any text is a text in a query. */
export function wrongOf({ body, query = {} }: RequestSpec): Record<string, unknown> {
  const wrong: Record<string, unknown> = {}
  for (const [name, { json }] of Object.entries(query as Readonly<Record<string, Schema>>)) {
    const isText = json['type'] === 'string' && !json['enum'] && !json['pattern']
    if (!isText) wrong[name] = 'strange'
  }
  for (const [name, { type }] of Object.entries(propertiesOf(body as Schema | undefined))) {
    wrong[name] = type === 'string' ? 5 : 'strange'
  }
  return wrong
}
