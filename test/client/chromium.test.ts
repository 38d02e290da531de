/** `tailrace/client` in a real browser: Debian's chromium, headless, on a page of another origin than the server's.
 *  `.ci/run` installs it. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { BrowserPage, needBrowser } from '../support/browser.js'
import { bundledPrograms } from '../support/programs.js'
import { CuttingProxy } from './cutting-proxy.js'

const programs = bundledPrograms({ server: 'test/client/server-child.ts' })
const watches = 100
const entry = fileURLToPath(new URL('../../src/client/web.ts', import.meta.url))

/** Runs in the page: watches many keys over one client, and one value by an event stream that brings a ticket. */
const script = `
window.told = []
window.until = async (count) => {
  while (window.told.length < count) await new Promise((resolve) => { window.wake = resolve })
  return window.told
}
const tell = (line) => {
  window.told.push(line)
  window.wake?.()
}
window.begin = async (target, token) => {
  const reconnect = { minMs: 1, maxMs: 50 }
  const store = await tailrace.connect(target, { token, reconnect })
  window.store = store
  const text = new TextDecoder()
  for (let index = 0; index < ${watches}; index++) {
    void (async () => {
      const options = { mode: 'append', waitCreate: true }
      for await (const event of store.watch('page/' + index, options)) {
        if (event.type === 'append') tell(index + ' ' + event.index + ' ' + text.decode(event.data))
      }
    })().catch((error) => tell(String(error)))
  }
  return store.storeId
}
window.streamed = async (target, token) => {
  const headers = { authorization: 'Bearer ' + token, 'content-type': 'application/json' }
  const made = await fetch(target + '/v1/tickets', { method: 'POST', headers, body: '{}' })
  const { ticket } = await made.json()
  const source = new EventSource(target + '/v1/watch/value?mode=value&ticket=' + ticket)
  const event = await new Promise((resolve) => source.addEventListener('value', resolve))
  source.close()
  return JSON.parse(event.data).data
}
`

it('a page watches 100 keys over one socket, over a cut network and a killed server', async (context) => {
  needBrowser(context, 'the client')
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-chromium-'))
  const { outputFiles } = await build({
    ...{ entryPoints: [entry], write: false, bundle: true, format: 'iife', globalName: 'tailrace' },
    ...{ platform: 'browser', target: 'es2022', logLevel: 'silent' },
  })
  const bundle = outputFiles[0]?.text ?? ''
  const site = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(
      `<!doctype html><title>page</title><script>${bundle}</script><script>${script}</script>`,
    )
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`
  let server: ChildProcess | undefined
  const start = async (address: string) => {
    const child = spawn(process.execPath, [programs.server, directory, address, origin], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    server = child
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const [socket, listen, token] = [await lines.next(), await lines.next(), await lines.next()]
    return {
      socket: String(socket.value),
      listen: String(listen.value),
      token: String(token.value),
    }
  }
  const kill = async () => {
    const gone = server && once(server, 'exit')
    server?.kill('SIGKILL')
    await gone
  }
  try {
    const { socket, listen, token } = await start('127.0.0.1:0')
    await using proxy = await CuttingProxy.startTcp(listen)
    await using page = await BrowserPage.open(origin)
    const call = (name: string, ...args: readonly unknown[]) =>
      page.evaluate(`${name}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`)
    await using store = await connect(`unix:${socket}`, { reconnect: { minMs: 1, maxMs: 50 } })
    expect(await call('begin', proxy.target, token)).toBe(store.storeId)
    const expected: string[] = []
    const append = async (word: string) => {
      const ops = Array.from({ length: watches }, (_, index) => {
        expected.push(
          `${index} ${expected.filter((line) => line.startsWith(`${index} `)).length} ${word}`,
        )
        return { op: 'append', key: `page/${index}`, value: word } as const
      })
      // The server may just have been killed: it is sent again until it is answered.
      await store.commit({ ops }, { exactlyOnce: true })
    }
    const told = async () => ((await call('until', expected.length)) as string[]).toSorted()
    await append('first')
    expect(await told()).toEqual(expected.toSorted())
    expect(proxy.sockets).toBe(1)
    proxy.close()
    await append('while it is cut')
    proxy.open()
    expect(await told()).toEqual(expected.toSorted())
    await kill()
    await start(listen)
    await append('after the kill')
    expect(await told()).toEqual(expected.toSorted())
    await store.put('value', 'grün', { exactlyOnce: true })
    expect(await call('streamed', proxy.target, token)).toBe('grün')
  } finally {
    await kill()
    site.close()
    site.closeAllConnections()
    await rm(directory, { recursive: true, force: true })
  }
})
