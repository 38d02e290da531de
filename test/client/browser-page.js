/** What a web page would do with `tailrace/client`, run by browser.test.ts in a process of its own.
 *  The bundle sees web globals only: Node's are shadowed (taken away they cannot be, since Node's own
 *  fetch looks for them), and of `globalThis` it has what is named here. Prints one line of JSON; the
 *  process then has to end by itself. */

import { readFileSync } from 'node:fs'

const [bundle, target, token] = process.argv.slice(2)
const { WebSocket } = globalThis
const shadowed = ['process', 'Buffer', 'global', 'require', 'setImmediate', 'clearImmediate']
const load = new Function(
  'globalThis',
  ...shadowed,
  `'use strict'; ${readFileSync(bundle, 'utf8')}; return { tailrace, buffer: typeof Buffer }`,
)
const { tailrace, buffer } = load({ WebSocket })
const { codes, connect, isCode, TailraceError } = tailrace
const text = (bytes) => (bytes === undefined ? undefined : new TextDecoder().decode(bytes))
const codeOf = (call) =>
  call.then(
    () => 'none',
    (error) => (error instanceof TailraceError && isCode(error, error.code) ? error.code : error),
  )

const seen = { buffer, codes: codes.length }
const store = await connect(target, { token, reconnect: { minMs: 1, maxMs: 20 } })
seen.storeId = store.storeId

await store.put('page/text', 'grün')
seen.text = text(await store.get('page/text'))
const parts = (async function* () {
  const part = new Uint8Array(300_000)
  for (let value = 1; value <= 3; value++) yield part.fill(value)
})()
await store.put('page/stream', parts, { contentType: 'text/plain' })
const reading = await store.read('page/stream')
const sizes = {}
for await (const chunk of reading.chunks) {
  for (const value of chunk) sizes[value] = (sizes[value] ?? 0) + 1
}
seen.stream = { stat: reading.stat, sizes }
seen.missing = (await store.get('none')) === undefined
const bytes = Uint8Array.from({ length: 256 }, (_, value) => value)
await store.commit({
  guards: [{ key: 'page/bytes', absent: true }],
  ops: [{ op: 'put', key: 'page/bytes', value: bytes }],
})
const { values } = await store.readMany(['page/bytes', 'none'])
seen.bytes = [values[0].join() === bytes.join(), values[1] === undefined]
seen.listed = (await store.list('page')).entries.map(({ name }) => name)
seen.refused = await codeOf(store.put('page', 'x'))
seen.conflict = await codeOf(store.append('page/text', 'x', { guards: [{ seq: 0 }] }))
seen.invalid = await codeOf(store.put('page/../other', 'x'))
const early = AbortSignal.timeout(20)
seen.canceled = await codeOf(store.get('none', { minSeq: 1_000_000, signal: early }))

seen.events = []
for await (const event of store.watch('log', { mode: 'append' })) {
  seen.events.push(event.type === 'append' ? [event.index, text(event.data)] : event.type)
}
for await (const event of store.watch('page/text', { mode: 'value' })) {
  seen.value = text(event.data)
  break
}

const waiting = codeOf(store.watch('never', { mode: 'value', waitCreate: true }).next())
await store[Symbol.asyncDispose]()
seen.disposed = await waiting

const stranger = await connect(target, { token: 'wrong' })
seen.stranger = [
  await codeOf(stranger.get('page/text')),
  await codeOf(stranger.watch('log', { mode: 'append' }).next()),
]
await stranger[Symbol.asyncDispose]()
console.log(JSON.stringify(seen))
