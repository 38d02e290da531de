/** The documents of the server's requests: an OpenAPI 3.1 document, and a page for people. Both are
 *  made from the table of requests in `wire/`. See rfc/12, rule 35.
 *  Invariant: they describe every request that is served, and no other. The page needs no script
 *  and loads nothing from another host. */

import { codes } from '../error.js'
import { toJson } from '../wire/bytes.js'
import { pathNames, type RequestSpec, type Right } from '../wire/request.js'
import { requestGroups } from '../wire/requests.js'
import { isOptional, type JsonSchema, type Schema } from '../wire/schema.js'
import { errorEnvelope, statusOf } from '../wire/status.js'
import { examples } from './examples.js'
import { tooManyRequests } from './rate.js'

type Json = Readonly<Record<string, unknown>>

const mediaTypes = {
  bytes: 'application/octet-stream',
  events: 'text/event-stream',
  lines: 'application/x-ndjson',
  html: 'text/html',
  text: 'text/plain',
} as const
/** The errors that any request may meet. */
const everywhere = ['EINVAL', 'EUNAUTH', 'EPERM', 'EBUSY', 'EIO', 'ECLOSED'] as const

/** Makes the OpenAPI document. `version` is that of the program. */
export function openApi(version: string): Json {
  const schemas: Record<string, JsonSchema> = {}
  const paths: Record<string, Record<string, Json>> = {}
  for (const [group, specs] of Object.entries(requestGroups)) {
    for (const spec of specs as readonly RequestSpec[]) {
      const path = pathOf(spec)
      paths[path] ??= {}
      paths[path][spec.method.toLowerCase()] = operationOf(spec, group, schemas)
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tailrace',
      version,
      description: 'A key-value store whose keys can be appended to and watched. Rules: rfc/12.',
    },
    tags: Object.keys(requestGroups).map((name) => ({ name })),
    paths,
    components: {
      schemas,
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  }
}

/** Returns the path in the form of OpenAPI: `/v1/pins/{name}`, `/v1/kv/{key}`. */
function pathOf({ path }: RequestSpec): string {
  return path.replace(/:(\w+)/g, '{$1}').replace(/\*$/, '{key}')
}

function operationOf(spec: RequestSpec, group: string, schemas: Record<string, JsonSchema>): Json {
  const { name, summary, body, upload, errors, status = 200, statuses = [] } = spec
  const right = rightOf(spec)
  const failures = new Set([...everywhere, ...errors].map(statusOf))
  const requestBody = body
    ? {
        content: {
          'application/json': {
            schema: placed((body as Schema).json, schemas),
            example: bodyExampleOf(spec),
          },
        },
      }
    : upload && {
        content: { [mediaTypes[upload]]: { schema: streamOf(upload), ...uploadExampleOf(spec) } },
      }
  return {
    operationId: name,
    summary,
    tags: [group],
    'x-right': right,
    ...(right === 'anyone' ? {} : { security: [{ token: [] }, {}] }),
    parameters: parametersOf(spec, schemas),
    ...(requestBody && { requestBody }),
    responses: {
      [status]: answerOf(spec, schemas),
      ...Object.fromEntries(statuses.map((other) => [other, { description: 'No error.' }])),
      ...Object.fromEntries(
        [...failures].sort().map((failure) => [failure, refusalOf(failure, spec, schemas)]),
      ),
      ...(right !== 'anyone' && { [tooManyRequests]: rateRefusal(schemas) }),
    },
  }
}

/** Returns the right of a request, for people. */
function rightOf({ right, ownerOnly }: RequestSpec): Right {
  return ownerOnly ? 'owner' : right
}

/** Returns the schema of a stream, for generators of clients. */
function streamOf(kind: keyof typeof mediaTypes): JsonSchema {
  return kind === 'bytes' ? {} : { type: 'string' }
}

function uploadExampleOf({ name }: RequestSpec): Json {
  const upload = examples.get(name)?.upload
  return upload === undefined ? {} : { example: upload }
}

/** Returns the arguments of the example that are in the body: all but those in path and query. */
function bodyExampleOf(spec: RequestSpec): unknown {
  const rest = { ...examples.get(spec.name)?.args }
  for (const name of [...pathNames(spec), ...Object.keys(spec.query ?? {})]) delete rest[name]
  if (spec.namespaced) delete rest['namespace']
  return toJson(rest)
}

function parametersOf(spec: RequestSpec, schemas: Record<string, JsonSchema>): Json[] {
  const { args = {} } = examples.get(spec.name) ?? {}
  const exampleOf = (name: string) => {
    const value = args[name]
    // In a query a list is one text, with commas.
    return value === undefined ? {} : { example: Array.isArray(value) ? value.join(',') : value }
  }
  const query = Object.entries((spec.query ?? {}) as Readonly<Record<string, Schema>>)
  return [
    ...pathNames(spec).map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
      ...exampleOf(name),
      ...(name === 'key' && { description: 'A key; its slashes stand as they are.' }),
    })),
    ...(spec.namespaced
      ? [
          {
            name: 'namespace',
            in: 'query',
            schema: { type: 'string', default: 'primary' },
            ...exampleOf('namespace'),
          },
        ]
      : []),
    ...query.map(([name, schema]) => ({
      name,
      in: 'query',
      ...(isOptional(schema) ? {} : { required: true }),
      schema: placed(schema.json, schemas),
      ...exampleOf(name),
    })),
    ...(spec.headers ?? []).map((name) => ({ name, in: 'header', schema: { type: 'string' } })),
  ]
}

function answerOf(spec: RequestSpec, schemas: Record<string, JsonSchema>): Json {
  const { answer, download = [], answerHeaders = [] } = spec
  const json = answer ? placed((answer as Schema).json, schemas) : { type: 'object' }
  const hasJson = answer !== undefined || download.length === 0
  const { answer: example = {}, download: text } = examples.get(spec.name) ?? {}
  const headers = answerHeaders.map((name) => [name, { schema: { type: 'string' } }])
  return {
    description: spec.summary,
    ...(headers.length > 0 && { headers: Object.fromEntries(headers) }),
    content: {
      ...(hasJson && { 'application/json': { schema: json, example: toJson(example) } }),
      ...Object.fromEntries(
        download.map((kind, at) => [
          mediaTypes[kind],
          { schema: streamOf(kind), ...(at === 0 && text !== undefined && { example: text }) },
        ]),
      ),
    },
  }
}

function refusalOf(status: number, spec: RequestSpec, schemas: Record<string, JsonSchema>): Json {
  const known: ReadonlySet<string> = new Set([...everywhere, ...spec.errors])
  const named = codes.filter((code) => known.has(code) && statusOf(code) === status)
  const schema = placed(errorEnvelope.json, schemas)
  const example = { error: { code: named[0], message: 'what happened, and what to do' } }
  return {
    description: named.join(', '),
    content: { 'application/json': { schema, example } },
  }
}

/** Returns the refusal of a token that has used its rate of requests. */
function rateRefusal(schemas: Record<string, JsonSchema>): Json {
  const message = 'the token has used its rate of requests: try again in 250 ms'
  const failed = { state: { retryAfterMs: 250 } }
  const example = { error: { code: 'EBUSY', message, failed } }
  return {
    description: 'EBUSY: the token has used its rate of requests',
    headers: { 'Retry-After': { schema: { type: 'integer' } } },
    content: { 'application/json': { schema: placed(errorEnvelope.json, schemas), example } },
  }
}

/** Returns a schema in which each part with a title is a reference. Adds these parts to
 *  `schemas`. */
function placed(json: JsonSchema, schemas: Record<string, JsonSchema>): JsonSchema {
  const inner = Object.fromEntries(
    Object.entries(json).map(([name, value]) => [name, placedWithin(value, schemas)]),
  )
  const { title } = json
  if (typeof title !== 'string') return inner
  schemas[title] = inner
  return { $ref: `#/components/schemas/${title}` }
}

function placedWithin(value: unknown, schemas: Record<string, JsonSchema>): unknown {
  if (Array.isArray(value)) return value.map((each) => placedWithin(each, schemas))
  if (typeof value !== 'object' || value === null) return value
  return placed(value as JsonSchema, schemas)
}

/** Makes the page for people: every request with its parameters, its errors, and a call of curl. */
export function docsPage(version: string): string {
  const groups = Object.entries(requestGroups)
  const index = groups.map(([name]) => `<a href="#${name}">${name}</a>`).join(' ')
  const body = groups
    .map(([name, specs]) => {
      const requests = (specs as readonly RequestSpec[]).map(sectionOf).join('\n')
      return `<h2 id="${name}">${name}</h2>\n${requests}`
    })
    .join('\n')
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Tailrace ${escaped(version)}: requests</title><style>${style}</style></head>
<body><h1>Tailrace ${escaped(version)}</h1>
<p>All requests of this server. Machines read <a href="/openapi.json">/openapi.json</a>.</p>
<nav>${index}</nav>
${body}
</body></html>
`
}

const style = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
section{border-top:1px solid #8884;padding:.5rem 0}code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow-x:auto}h3{margin:.5rem 0}`

function sectionOf(spec: RequestSpec): string {
  const { name, method, summary, errors } = spec
  const right = rightOf(spec)
  const path = pathOf(spec)
  const query = [...(spec.namespaced ? ['namespace'] : []), ...Object.keys(spec.query ?? {})]
  const facts = [
    query.length > 0 ? `Parameters: ${codeList(query)}.` : '',
    spec.headers?.length ? `Headers: ${codeList(spec.headers)}.` : '',
    errors.length > 0 ? `Errors: ${codeList(errors)}.` : '',
    `Right: ${right}.`,
  ]
  return `<section id="${name}"><h3><code>${method} ${escaped(path)}</code></h3>
<p>${escaped(summary)}. ${facts.filter((fact) => fact !== '').join(' ')}</p>
<pre>${escaped(curlOf(spec, path))}</pre></section>`
}

function curlOf(spec: RequestSpec, path: string): string {
  const url = `http://localhost${path.replaceAll('{', '').replaceAll('}', '')}`
  const verb = spec.method === 'GET' ? '' : spec.method === 'HEAD' ? ' -I' : ` -X ${spec.method}`
  const data = spec.body ? " -d '{…}'" : spec.upload ? ' --data-binary @FILE' : ''
  return `curl --unix-socket "$TAILRACE_DATA/tailrace.sock"${verb}${data} ${url}`
}

function codeList(names: readonly string[]): string {
  return names.map((name) => `<code>${escaped(name)}</code>`).join(', ')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
