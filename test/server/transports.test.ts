/** Each request of the table over both transports: what HTTP answers, the websocket answers, in JSON and in msgpack,
 *  and what one refuses, the other refuses with the same code. See rfc/12. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toJson } from '../../src/wire/bytes.js'
import { type ResponseFrame, subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { pathNames, type RequestSpec } from '../../src/wire/request.js'
import { requests } from '../../src/wire/requests.js'
import {
  type Args,
  type Asked,
  askedByName,
  askHttp,
  calls,
  fill,
  httpOnly,
  prepared,
  requiredOf,
  wrongOf,
} from './calls.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

/** What a transport said: an answer, or an error. */
type Said = { readonly answer: unknown } | { readonly error: object }
type Transport = {
  readonly name: string
  readonly ask: (serving: Serving, spec: RequestSpec, args: Args) => Promise<Said>
}

const http: Transport = {
  name: 'HTTP',
  ask: async (serving, spec, args) => {
    const { status, json } = await askHttp(serving, spec, { args })
    if (status < 400) return { answer: json }
    return { error: (json as { readonly error: object }).error }
  },
}
const websockets = ([subprotocol, subprotocolJson] as const).map(
  (protocol): Transport => ({
    name: protocol,
    ask: async (serving, { name, namespaced }, args) => {
      await using peer = await Peer.connect(serving, { protocol })
      const { namespace, ...body } = args
      peer.send({ id: 1, op: name, ...(namespaced ? { namespace, body } : { body: args }) })
      return said(await peer.next())
    },
  }),
)

function said(frame: ResponseFrame): Said {
  if (frame.type === 'result') return { answer: toJson(frame.body) }
  const { id, type, ...error } = frame
  return { error }
}

/** Of the moment, of the machine, or of one call. */
const volatile = new Set([
  ...['seq', 'ref', 'time', 'incarnation', 'created', 'pinned', 'index', 'count', 'keys', 'size'],
  ...['historySize', 'id', 'pid', 'submitted', 'started', 'finished', 'token', 'total', 'next'],
  ...['stored', 'live', 'history', 'disk', 'memory', 'roots', 'from', 'to', 'backlog', 'storeId'],
  ...['connections', 'usage', 'rss', 'anonymous', 'expires', 'revoked', 'ticket', 'path'],
])

/** An answer, where what differs between two calls is only said to be there. */
function stable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(stable)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      volatile.has(name) && isOfTheMoment(field) ? typeof field : stable(field),
    ]),
  )
}

/** True for a single value, and for a list of texts. */
function isOfTheMoment(field: unknown): boolean {
  if (Array.isArray(field)) return field.every((item) => typeof item === 'string')
  return typeof field !== 'object'
}

let serving: Serving
beforeAll(async () => {
  serving = await Serving.start()
  await fill(serving.store)
})
afterAll(() => serving[Symbol.asyncDispose]())

/** Makes what the call needs, and asks. */
async function ask(transport: Transport, asked: Asked): Promise<Said> {
  if (asked.case.last) {
    await using own = await Serving.start()
    return await transport.ask(own, asked.spec, asked.example.args)
  }
  const { args } = await prepared(serving.store, asked)
  return transport.ask(serving, asked.spec, args)
}

/** Asks with arguments in the place of the example's, which the server refuses before it does anything. */
function askWith(transport: Transport, { spec, example }: Asked, given: Args): Promise<Said> {
  return transport.ask(serving, spec, { ...example.args, ...given })
}

async function codeOf(transport: Transport, asked: Asked, given: Args): Promise<unknown> {
  const answer = await askWith(transport, asked, given)
  return 'error' in answer ? (answer.error as { readonly code?: unknown }).code : 'none'
}

it('every request of the table has a case', () => {
  expect([...askedByName.keys()].sort()).toEqual([...requests.keys()].sort())
})

describe.each(websockets)('over $name and over HTTP', (websocket) => {
  const named = calls.map((asked) => [asked.spec.name, asked] as const)

  it.each(named)('%s gives the same answer', async (_, asked) => {
    const expected = await ask(http, asked)
    expect(expected).toHaveProperty('answer')
    expect(stable(await ask(websocket, asked))).toEqual(stable(expected))
  })

  it.each(named)('%s refuses an unknown argument', async (_, asked) => {
    expect(await codeOf(http, asked, { strange: 1 })).toBe('EINVAL')
    expect(await codeOf(websocket, asked, { strange: 1 })).toBe('EINVAL')
  })

  it.each(
    named.flatMap(([name, asked]) =>
      Object.entries(wrongOf(asked.spec)).map(([field, value]) => [name, field, value, asked]),
    ) as [string, string, unknown, Asked][],
  )('%s refuses a wrong type of %s', async (_, field, value, asked) => {
    expect(await codeOf(http, asked, { [field]: value })).toBe('EINVAL')
    expect(await codeOf(websocket, asked, { [field]: value })).toBe('EINVAL')
  })

  it.each(
    named.flatMap(([name, asked]) =>
      requiredOf(asked.spec).map((field) => [name, field, asked]),
    ) as [string, string, Asked][],
  )('%s refuses to be asked without %s', async (_, field, asked) => {
    const { [field]: _left, ...rest } = asked.example.args
    for (const transport of [http, websocket]) {
      const answer = await transport.ask(serving, asked.spec, rest)
      expect(answer).toEqual({ error: expect.objectContaining({ code: 'EINVAL' }) })
    }
  })

  it.each(named.filter(([, { spec }]) => pathNames(spec).length > 0))(
    '%s refuses a name of its path that is missing or no text',
    async (_, asked) => {
      for (const name of pathNames(asked.spec)) {
        expect(await codeOf(websocket, asked, { [name]: 5 })).toBe('EINVAL')
        expect(await codeOf(websocket, asked, { [name]: undefined })).toBe('EINVAL')
      }
    },
  )

  it.each(named.filter(([, asked]) => asked.case.refused))(
    '%s says the same of what the store refuses',
    async (_, asked) => {
      const [given, code] = asked.case.refused ?? [{}, 'none']
      const expected = await askWith(http, asked, given)
      expect(expected).toEqual({ error: expect.objectContaining({ code }) })
      expect(stable(await askWith(websocket, asked, given))).toEqual(stable(expected))
    },
  )

  it.each(named)(
    '%s says the same of a namespace that is not there, is no name, or is reserved',
    async (_, asked) => {
      for (const namespace of ['nothing', 'no name!', '', 'jobs']) {
        const expected = await codeOf(http, asked, { namespace })
        expect(await codeOf(websocket, asked, { namespace }), namespace).toBe(expected)
      }
    },
  )

  it.each(httpOnly.map((asked) => [asked.spec.name, asked] as const))(
    '%s is for HTTP only, and the websocket says so',
    async (_, asked) => {
      expect(await codeOf(websocket, asked, {})).toBe('EINVAL')
    },
  )
})

it.each([null, [], 'text', 5])('a body that is %j is EINVAL over both transports', async (body) => {
  const answer = await serving.ask('POST', '/v1/stop', { body: JSON.stringify(body) })
  expect(answer.json).toEqual({ error: expect.objectContaining({ code: 'EINVAL' }) })
  for (const protocol of [subprotocol, subprotocolJson] as const) {
    await using peer = await Peer.connect(serving, { protocol })
    peer.send({ id: 1, op: 'server.stop', body })
    expect(await peer.next()).toMatchObject({ type: 'error', code: 'EINVAL' })
  }
})

it.each(websockets)(
  'over $name and over HTTP {base64} is bytes only where bytes are meant',
  async (websocket) => {
    const submit = askedByName.get('jobs.submit')
    const txn = askedByName.get('txn')
    if (!submit || !txn) throw new Error('no such requests')
    // A variable and a file of that name: what it holds is text.
    const variables = { env: { base64: 'aGVsbG8=' }, set: { base64: 'aGVsbG8=' } }
    const put = { ops: [{ op: 'put', key: 'bytes', value: { base64: 'aGVsbG8=' } }] }
    for (const transport of [http, websocket]) {
      const job = await askWith(transport, submit, {
        command: ['printenv', 'base64'],
        ...variables,
      })
      expect(job).toHaveProperty('answer.id')
      const { id } = (job as { readonly answer: { readonly id: string } }).answer
      await serving.store.jobs.wait(id)
      const pieces: Uint8Array[] = []
      for await (const { data } of serving.store.jobs.output(id)) pieces.push(data)
      expect(Buffer.concat(pieces).toString()).toBe('aGVsbG8=\n')
      await askWith(transport, txn, { guards: [], ...put })
      expect(Buffer.from((await serving.store.get('bytes')) ?? []).toString()).toBe('hello')
      await serving.store.put('bytes', 'other')
    }
  },
)
