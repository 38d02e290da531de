/** What the server says of its requests: rfc/12, rule 35. Its schemas are tried on real answers. */

import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RequestSpec } from '../../src/wire/request.js'
import { requestGroups } from '../../src/wire/requests.js'
import { Serving } from './serving.js'

type Operation = {
  readonly operationId: string
  readonly summary: string
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, { readonly schema?: object }>> }>
  >
}
type Document = {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}

let serving: Serving
let document: Document
const ajv = new Ajv2020({ strict: false })
beforeAll(async () => {
  serving = await Serving.start()
  const { store } = serving
  await store.put('dir/k', 'one')
  await store.append('log', 'x'.repeat(1000))
  await store.eventlog('events').append([{ timestamp: 1, name: 'start' }])
  await store.history.pin('kept')
  const { id } = await store.jobs.submit({ command: ['true'], cwd: '/', env: {} })
  await store.jobs.wait(id)
  document = (await serving.ask('GET', '/openapi.json')).json as Document
  ajv.addSchema({ ...document, $id: 'tailrace' })
})
afterAll(() => serving[Symbol.asyncDispose]())

const specs: readonly RequestSpec[] = Object.values(requestGroups).flat()

/** Asserts that an answer is what the document says of the operation. */
function expectDescribed(path: string, method: string, status: number, json: unknown): void {
  const schema = `tailrace#/paths/${path.replaceAll('~', '~0').replaceAll('/', '~1').replaceAll('{', '%7B').replaceAll('}', '%7D')}/${method}/responses/${status}/content/application~1json/schema`
  const valid = ajv.validate(schema, json)
  expect(ajv.errorsText(), `${method} ${path} ${status}`).toBe('No errors')
  expect(valid).toBe(true)
}

describe('openapi.json', () => {
  it('has every request of the table once, with a summary', () => {
    expect(document.openapi).toBe('3.1.0')
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path))
    expect(operations.map(({ operationId }) => operationId).sort()).toEqual(
      specs.map(({ name }) => name).sort(),
    )
    expect(operations.filter(({ summary }) => summary === '')).toEqual([])
  })

  it('names no schema that is not there', () => {
    const named = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g)]
    expect(named.length).toBeGreaterThan(10)
    const missing = named.filter(
      ([, name]) => !Object.hasOwn(document.components.schemas, name ?? ''),
    )
    expect(missing).toEqual([])
  })

  it.each([
    ['/v1/stat/{key}', '/v1/stat/dir/k'],
    ['/v1/stat/{key}', '/v1/stat/log'],
    ['/v1/list/{key}', '/v1/list/dir'],
    ['/v1/treeobj/{key}', '/v1/treeobj/log'],
    ['/v1/root', '/v1/root'],
    ['/v1/roots', '/v1/roots'],
    ['/v1/diff', '/v1/diff?from=0'],
    ['/v1/log/{key}', '/v1/log/dir/k'],
    ['/v1/pins', '/v1/pins'],
    ['/v1/ns', '/v1/ns'],
    ['/v1/ns/{name}', '/v1/ns/primary'],
    ['/v1/jobs', '/v1/jobs'],
    ['/v1/usage', '/v1/usage'],
    ['/v1/status', '/v1/status'],
    ['/healthz', '/healthz'],
  ])('describes what GET %s answers (%s)', async (path, asked) => {
    const { status, json } = await serving.ask('GET', asked)
    expect(status).toBe(200)
    expectDescribed(path, 'get', 200, json)
  })

  it.each([
    ['post', '/v1/txn', { ops: [{ op: 'put', key: 'a', value: 'b' }] }, 200],
    ['post', '/v1/read', { keys: ['dir/k', 'nothing'] }, 200],
    ['post', '/v1/ns', { name: 'other' }, 201],
    ['patch', '/v1/ns/{name}', { quota: 1_000_000 }, 200],
    ['post', '/v1/gc', { dryRun: true }, 200],
    ['post', '/v1/txn', { ops: [{ op: 'fly' }] }, 400],
    ['post', '/v1/ns', { name: 'primary' }, 409],
  ] as const)('describes what %s %s answers (%j)', async (method, path, body, status) => {
    const asked = path.replace('{name}', 'primary')
    const answer = await serving.ask(method.toUpperCase(), asked, { body: JSON.stringify(body) })
    expect(answer.status).toBe(status)
    expectDescribed(path, method, status, answer.json)
  })

  it('describes errors of a key that is not there', async () => {
    const { status, json } = await serving.ask('GET', '/v1/stat/nothing')
    expectDescribed('/v1/stat/{key}', 'get', status, json)
  })
})

it('/docs has a section for every request, and nothing that another host would send', async () => {
  const { status, body, headers } = await serving.ask('GET', '/docs')
  const text = body.toString()
  expect(status).toBe(200)
  expect(headers['content-type']).toContain('text/html')
  for (const { name } of specs) expect(text).toContain(`<section id="${name}">`)
  expect(text).not.toMatch(/<script|src=|https?:\/\/(?!localhost)/)
})
