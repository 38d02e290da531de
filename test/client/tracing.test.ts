/** A trace of one write, from a program through client and server to a watcher. See rfc/29, rules 14 to 16. */

import { context, SpanKind, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { RemoteStore } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import { subprotocolJson } from '../../src/wire/frames.js'
import { Peer } from '../server/peer.js'
import { Serving } from '../server/serving.js'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })

let serving: Serving
let store: RemoteStore
beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(provider)
  serving = await Serving.start()
  store = await connect(serving.url, { token: serving.server.token })
})
afterEach(() => exporter.reset())
afterAll(async () => {
  await store.close()
  await serving[Symbol.asyncDispose]()
  await provider.shutdown()
  trace.disable()
  context.disable()
})

/** Runs work within a span of the program, and returns its result and the ids of that span. */
async function within<T>(work: () => Promise<T>) {
  const span = trace.getTracer('program').startSpan('work')
  const result = await context.with(trace.setSpan(context.active(), span), work)
  span.end()
  return { result, ...span.spanContext() }
}

/** The one span of a kind and a name that has ended. */
function spanOf(kind: SpanKind, name: string): ReadableSpan {
  const found = exporter
    .getFinishedSpans()
    .filter((span) => span.kind === kind && span.name === name)
  expect(found).toHaveLength(1)
  return found[0] as ReadableSpan
}

const parentOf = (span: ReadableSpan) => span.parentSpanContext?.spanId

describe.each([
  ['over HTTP', 'tailrace key.append', { requests: 'http' } as const],
  ['over the websocket', 'tailrace txn', {}],
])('a write %s', (way, name, options) => {
  it.each(['append', 'value'] as const)('is one trace up to a watcher of mode %s', async (mode) => {
    const key = `traced/${way}/${mode}`
    await using writer = await connect(serving.url, { token: serving.server.token, ...options })
    // A second request opens the websocket, and a third one is on it.
    for (let count = 0; count < 3; count++) await writer.append(key, 'before')
    const events = store.watch(key, { mode, ...(mode === 'append' && { from: 3 }) })
    if (mode === 'append') expect((await events.next()).value).toMatchObject({ type: 'live' })
    else expect((await events.next()).value).not.toHaveProperty('trace')
    exporter.reset()

    const write = () => writer.append(key, 'traced')
    const { traceId, spanId } = await within(write)
    const { value: event } = await events.next()
    await events.return?.()

    const sent = spanOf(SpanKind.CLIENT, name)
    const served = spanOf(SpanKind.SERVER, name)
    const delivered = spanOf(SpanKind.PRODUCER, 'tailrace deliver')
    const received = spanOf(SpanKind.CONSUMER, 'tailrace receive')
    expect(parentOf(sent)).toBe(spanId)
    expect(parentOf(served)).toBe(sent.spanContext().spanId)
    expect(parentOf(delivered)).toBe(served.spanContext().spanId)
    expect(parentOf(received)).toBe(delivered.spanContext().spanId)
    for (const span of [sent, served, delivered, received]) {
      expect(span.spanContext().traceId).toBe(traceId)
    }
    expect(event).toMatchObject({ trace: `00-${traceId}-${received.spanContext().spanId}-01` })
  })
})

it('an error is told by the spans of client and server', async () => {
  await store.put('there', 'value')
  const taken = { guards: [{ key: 'there', absent: true } as const], ops: [] }
  await within(() => expect(store.commit(taken)).rejects.toMatchObject({ code: 'ECONFLICT' }))
  for (const kind of [SpanKind.CLIENT, SpanKind.SERVER]) {
    expect(spanOf(kind, 'tailrace txn').attributes['error.type']).toBe('ECONFLICT')
  }
})

it('a large put, which is no request of the websocket, is traced too', async () => {
  const { traceId } = await within(() => store.put('large', 'x'.repeat(1_000_000)))
  expect(spanOf(SpanKind.SERVER, 'tailrace key.put').spanContext().traceId).toBe(traceId)
})

it('without an active span nothing is traced', async () => {
  await store.put('quiet', 'value')
  expect(exporter.getFinishedSpans()).toEqual([])
})

it('each append of a group has the trace of its own write', async () => {
  const key = 'traced/group'
  await store.append(key, 'first')
  const events = store.watch(key, { mode: 'append', from: 1 })
  await events.next()
  const writes = await Promise.all(
    Array.from({ length: 5 }, () => within(() => store.append(key, 'x'))),
  )
  for (let count = 0; count < 5; count++) {
    const { value: event } = await events.next()
    const write = writes.find(
      ({ result }) => result.result.index === (event as { index: number }).index,
    )
    expect((event as { trace: string }).trace.split('-')[1]).toBe(write?.traceId)
  }
  await events.return?.()
})

describe('a place that is not well formed', () => {
  it.each([
    '',
    'x',
    `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`,
    `01-${'1'.repeat(32)}-${'1'.repeat(16)}-01`,
  ])('"%s" is left out', async (traceparent) => {
    const headers = { traceparent }
    expect((await serving.ask('PUT', '/v1/kv/a', { headers, body: 'x' })).status).toBe(200)
    await using peer = await Peer.connect(serving, { protocol: subprotocolJson })
    peer.send({
      id: 1,
      op: 'txn',
      trace: traceparent,
      body: { ops: [{ op: 'put', key: 'a', value: 'y' }] },
    })
    expect(await peer.next()).toMatchObject({ type: 'result' })
    expect(exporter.getFinishedSpans()).toEqual([])
  })
})
