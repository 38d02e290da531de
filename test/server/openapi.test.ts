/** What the server says of its requests: rfc/12, rule 35. Its schemas are tried on its examples and on a real answer
 *  of each request. */

import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toJson } from '../../src/wire/bytes.js'
import type { RequestSpec } from '../../src/wire/request.js'
import { requestGroups } from '../../src/wire/requests.js'
import { askedByName, askHttp, fill, prepared } from './calls.js'
import { type Answer, Serving } from './serving.js'

type Content = Readonly<Record<string, { readonly schema?: object; readonly example?: unknown }>>
type Parameter = {
  readonly name: string
  readonly required?: boolean
  readonly example?: unknown
}
type Operation = {
  readonly operationId: string
  readonly summary: string
  readonly parameters: readonly Parameter[]
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>
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
  await fill(serving.store)
  document = (await serving.ask('GET', '/openapi.json')).json as Document
  ajv.addSchema({ ...document, $id: 'tailrace' })
})
afterAll(() => serving[Symbol.asyncDispose]())

const specs: readonly RequestSpec[] = Object.values(requestGroups).flat()
const all = [...askedByName].map(([name, asked]) => [name, asked] as const)

function operationOf(spec: RequestSpec) {
  const path = spec.path.replace(/:(\w+)/g, '{$1}').replace(/\*$/, '{key}')
  const method = spec.method.toLowerCase()
  const operation = document.paths[path]?.[method]
  if (!operation) throw new Error(`the document has no ${method} ${path}`)
  return { operation, method, path: encodeURIComponent(path.replaceAll('/', '~1')) }
}

/** Asserts that a value is what the schema at this place of the document says. */
function expectValid(place: string, value: unknown): void {
  const pointer = place.replace('application/json', 'application~1json')
  const valid = ajv.validate(`tailrace#/paths/${pointer}`, value)
  expect(ajv.errorsText(), place).toBe('No errors')
  expect(valid).toBe(true)
}

/** Asserts that an answer is what the document says of the request: its status, its media type, its JSON. */
function expectDescribed(spec: RequestSpec, answer: Answer): void {
  const { operation, path, method } = operationOf(spec)
  const described = operation.responses[answer.status]
  expect(described, `${spec.name} may answer ${answer.status}`).toBeDefined()
  const [type = ''] = (answer.headers['content-type'] ?? '').split(';')
  expect(Object.keys(described?.content ?? {})).toContain(type)
  if (type !== 'application/json') return
  expectValid(`${path}/${method}/responses/${answer.status}/content/${type}/schema`, answer.json)
}

/** Names, and the types of values; of a list its first item. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf)
  if (typeof value !== 'object' || value === null) return typeof value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)]))
}

describe('openapi.json', () => {
  it('has every request of the table once, with a summary', () => {
    expect(document.openapi).toBe('3.1.0')
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path))
    expect(operations.map(({ operationId }) => operationId).sort()).toEqual(
      specs.map(({ name }) => name).sort(),
    )
    expect(all.map(([name]) => name).sort(), 'cases').toEqual(specs.map(({ name }) => name).sort())
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

  it('is OpenAPI 3.1, as its meta-schema has it', async () => {
    const { valid, errors } = await new Validator({ strict: false }).validate(
      structuredClone(document),
    )
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
  })

  it.each(all)('has an example of %s that its schemas take', (_, { spec }) => {
    const { operation, path, method } = operationOf(spec)
    for (const [at, parameter] of operation.parameters.entries()) {
      if (parameter.required) expect(parameter.example, parameter.name).toBeDefined()
      if (parameter.example === undefined) continue
      expectValid(`${path}/${method}/parameters/${at}/schema`, parameter.example)
    }
    const asks = Object.entries(operation.requestBody?.content ?? {})
    expect(asks).toHaveLength(spec.body || spec.upload ? 1 : 0)
    for (const [type, { example }] of asks) {
      // An export is no text.
      if (spec.name !== 'upkeep.import') expect(example, type).toBeDefined()
      if (spec.body) expectValid(`${path}/${method}/requestBody/content/${type}/schema`, example)
    }
    for (const [status, { content = {} }] of Object.entries(operation.responses)) {
      for (const [type, { example }] of Object.entries(content)) {
        if (type !== 'application/json') continue
        expect(example, `${status} ${type}`).toBeDefined()
        expectValid(`${path}/${method}/responses/${status}/content/${type}/schema`, example)
      }
    }
  })

  it.each(all)('describes what %s answers, in the shape of its example', async (_, asked) => {
    const { spec, example } = asked
    await using own = asked.case.last ? await Serving.start() : undefined
    const on = own ?? serving
    const answer = await askHttp(on, spec, await prepared(on.store, asked))
    expectDescribed(spec, answer)
    expect(answer.status).toBe(spec.status ?? 200)
    if (answer.headers['content-type']?.startsWith('application/json') !== true) return
    // This document has no example of itself.
    if (spec.name === 'server.openapi') return
    expect(shapeOf(answer.json)).toEqual(
      shapeOf(JSON.parse(JSON.stringify(toJson(example.answer)))),
    )
  })

  it.each(all.filter(([, asked]) => asked.case.refused))(
    'describes what %s answers where it is refused',
    async (_, { spec, example, case: { refused } }) => {
      const answer = await askHttp(serving, spec, { args: { ...example.args, ...refused?.[0] } })
      expect(answer.status).toBeGreaterThanOrEqual(400)
      // A HEAD has its code in a header.
      if (spec.method === 'HEAD') expect(answer.headers['tailrace-error']).toBe(refused?.[1])
      else expectDescribed(spec, answer)
    },
  )

  it.each([
    ['stat', { key: 'greeting' }, 200],
    ['treeobj', { key: 'ci/log' }, 200],
    ['txn', { ops: [{ op: 'fly' }] }, 400],
    ['namespaces.create', { name: 'primary' }, 409],
  ] as const)('describes what %s answers to %j', async (name, args, status) => {
    const spec = askedByName.get(name)?.spec
    if (!spec) throw new Error(`no request ${name}`)
    const answer = await askHttp(serving, spec, { args })
    expect(answer.status).toBe(status)
    expectDescribed(spec, answer)
  })
})

it('says the same of every server of a version', async () => {
  await using other = await Serving.start()
  for (const path of ['/openapi.json', '/docs']) {
    const [one, two] = [await serving.ask('GET', path), await other.ask('GET', path)]
    expect(one.body.equals(two.body), path).toBe(true)
    for (const text of [serving.store.storeId, serving.directory, serving.server.token]) {
      expect(one.body.toString()).not.toContain(text)
    }
  }
})

it('/docs has a section for every request, and nothing that another host would send', async () => {
  const { status, body, headers } = await serving.ask('GET', '/docs')
  const text = body.toString()
  expect(status).toBe(200)
  expect(headers['content-type']).toContain('text/html')
  for (const { name } of specs) expect(text).toContain(`<section id="${name}">`)
  expect(text).not.toMatch(/<script|src=|https?:\/\/(?!localhost)/)
})
