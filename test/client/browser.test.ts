/** `tailrace/client` in a browser: what is bundled, and whether it works with web globals only. And what
 *  its Node entry loads before it is needed. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type BuildResult, build } from 'esbuild'
import { expect, it } from 'vitest'
import { codes } from '../../src/error.js'
import { CuttingProxy } from './cutting-proxy.js'
import { serve } from './serving.js'

const run = promisify(execFile)
const entry = fileURLToPath(new URL('../../src/client/web.ts', import.meta.url))
const page = fileURLToPath(new URL('./browser-page.js', import.meta.url))

/** Fails on everything that a browser does not have, since nothing is external. */
async function bundle(outfile: string): Promise<BuildResult<{ metafile: true }>> {
  return build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: 'iife',
    globalName: 'tailrace',
    platform: 'browser',
    target: 'es2022',
    metafile: true,
    logLevel: 'silent',
  })
}

it('the bundle has the protocol and its codec, no package, and nothing of Node', async () => {
  await using serving = await serve()
  const outfile = `${serving.directory}/bundle.js`
  const { metafile, warnings } = await bundle(outfile)
  expect(warnings).toEqual([])
  const packages = Object.keys(metafile.inputs)
    .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1])
    .filter((name) => name !== undefined)
  expect([...new Set(packages)]).toEqual([])
  const inputs = Object.entries(metafile.inputs)
  expect(inputs.map(([path]) => path).filter((path) => /hash|engine|server/.test(path))).toEqual([])
  const imports = inputs.flatMap(([, input]) => input.imports.map(({ path }) => path))
  expect(imports.filter((path) => path.startsWith('node:') || path === 'ws')).toEqual([])
  const outputs = Object.values(metafile.outputs)
  expect(outputs.flatMap((output) => output.imports)).toEqual([])
  // What a page does not use is imported in such a way that it can be left out.
  const used = outputs.flatMap((output) =>
    Object.entries(output.inputs).flatMap(([path, of]) => (of.bytesInOutput > 200 ? [path] : [])),
  )
  expect(used.filter((path) => /base\/json|ndjson|turn-queue/.test(path))).toEqual([])
  const text = await readFile(outfile, 'utf8')
  expect(text.length).toBeLessThan(250_000)
  // Where there is one: a browser has none.
  expect(text).not.toMatch(/\brequire\(|(?<!typeof |[?] )\bsetImmediate\b/)
})

it('a page puts, gets and watches over cut connections, with web globals only', async () => {
  await using serving = await serve({ listen: ['127.0.0.1:0'] })
  const { server, store } = serving
  await using proxy = await CuttingProxy.startTcp(String(server.listen[0]))
  const words = Array.from({ length: 30 }, (_, index) => `${index}`.repeat(index * 50))
  for (const word of words) await store.append('log', word)
  await store.commit({ ops: [{ op: 'seal', key: 'log' }] })
  const outfile = `${serving.directory}/bundle.js`
  await bundle(outfile)
  proxy.cutAfter(100, 700, 3_000, 12_000)

  const { stdout } = await run(
    process.execPath,
    ['--experimental-websocket', '--no-warnings', page, outfile, proxy.target, server.token],
    { timeout: 25_000 },
  )
  expect(JSON.parse(stdout)).toEqual({
    buffer: 'undefined',
    codes: codes.length,
    storeId: store.storeId,
    text: 'grün',
    stream: {
      stat: expect.objectContaining({ size: 900_000, attrs: { contentType: 'text/plain' } }),
      sizes: { 1: 300_000, 2: 300_000, 3: 300_000 },
    },
    missing: true,
    bytes: [true, true],
    listed: ['bytes', 'stream', 'text'],
    refused: 'EISDIR',
    conflict: 'ECONFLICT',
    invalid: 'EINVAL',
    canceled: 'ETIMEDOUT',
    events: [...words.map((word, index) => [index, word]), 'live', 'end'],
    value: 'grün',
    disposed: 'ECLOSED',
    stranger: ['EUNAUTH', 'EUNAUTH'],
  })
  expect(proxy.sockets).toBeGreaterThanOrEqual(6)
})

it('the Node entry loads no package before a watch is opened', async () => {
  const { metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/client/node.ts', import.meta.url))],
    outdir: 'nowhere',
    write: false,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    metafile: true,
  })
  // What is imported statically, chunks of it included; the rest comes by `import()`.
  const loaded = new Set<string>()
  const load = (path: string): void => {
    if (loaded.has(path)) return
    loaded.add(path)
    const imports = metafile.outputs[path]?.imports ?? []
    for (const { path: next, kind } of imports) if (kind === 'import-statement') load(next)
  }
  for (const path of Object.keys(metafile.outputs)) if (path.endsWith('/node.js')) load(path)
  const inputs = [...loaded].flatMap((path) => Object.keys(metafile.outputs[path]?.inputs ?? {}))
  expect(inputs).toContain('src/client/client.ts')
  expect(inputs.filter((path) => path.includes('node_modules'))).toEqual([])
  expect(loaded).not.toContain('node:https')
  expect(Object.keys(metafile.inputs).some((path) => path.includes('node_modules/ws/'))).toBe(true)
})
