/** A headless browser that opens one page: Debian's chromium, asked over its own protocol. `.ci/run` installs
 *  it. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'vitest'
import { WebSocket } from 'ws'
import { deferred } from '../../src/base/deferred.js'
import { Wakeup } from '../../src/base/wakeup.js'

const program = '/usr/bin/chromium'

type Answer = {
  readonly id?: number
  readonly method?: string
  readonly params?: unknown
  readonly result?: {
    readonly result?: { readonly value?: unknown }
    readonly exceptionDetails?: unknown
    /** Of a navigation. */
    readonly loaderId?: string
  }
}

/** Chromium as it is asks its maker's hosts for updates at each start. */
const quiet = [
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
  ...['--disable-quic', '--no-first-run'],
]

/** Skips the test, with the reason, where there is no browser. */
export function needBrowser(context: TestContext, page: string): void {
  if (existsSync(program)) return
  context.skip(`${page} was not opened: ${program} is missing (apt-get install chromium)`)
}

export class BrowserPage implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #profile: string
  readonly #socket: WebSocket
  readonly #asked = new Map<number, (answer: Answer) => void>()
  /** The documents that were loaded, and what is woken with each. */
  readonly #loaded = new Set<string>()
  readonly #moved = new Wakeup()
  /** What the page threw, logged, and was refused. */
  readonly complaints: unknown[] = []
  /** The addresses that it asked for. */
  readonly addresses: string[] = []

  private constructor(child: ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child
    this.#profile = profile
    this.#socket = socket
    socket.on('message', (data) => this.#take(JSON.parse(String(data))))
  }

  static async open(url: string): Promise<BrowserPage> {
    const profile = await mkdtemp(join(tmpdir(), 'tailrace-browser-'))
    const options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
    const own = ['--remote-debugging-port=0', `--user-data-dir=${profile}`]
    const size = '--window-size=1200,900'
    const child = spawn(program, [...options, ...quiet, ...own, size, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const port = await portOf(child)
    const pages = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as readonly {
      readonly type: string
      readonly webSocketDebuggerUrl: string
    }[]
    const socket = new WebSocket(
      pages.find(({ type }) => type === 'page')?.webSocketDebuggerUrl ?? '',
    )
    await once(socket, 'open')
    const page = new BrowserPage(child, profile, socket)
    for (const domain of ['Runtime', 'Log', 'Network', 'Page']) await page.#ask(`${domain}.enable`)
    await page.#ask('Page.setLifecycleEventsEnabled', { enabled: true })
    const { result } = await page.#ask('Page.navigate', { url })
    await page.#untilLoaded(result?.loaderId ?? '')
    return page
  }

  /** Returns what an expression of the page gives; promises are awaited. */
  async evaluate(expression: string): Promise<unknown> {
    const options = { expression, awaitPromise: true, returnByValue: true }
    const { result } = await this.#ask('Runtime.evaluate', options)
    if (result?.exceptionDetails) throw new Error(JSON.stringify(result.exceptionDetails))
    return result?.result?.value
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.terminate()
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 10 })
  }

  /** Waits until the scripts of a document have run. */
  async #untilLoaded(loader: string): Promise<void> {
    while (!this.#loaded.has(loader)) await this.#moved.wait(this.#moved.count)
  }

  async #ask(method: string, params: object = {}): Promise<Answer> {
    const id = this.#asked.size + 1
    const answer = deferred<Answer>()
    this.#asked.set(id, answer.resolve)
    this.#socket.send(JSON.stringify({ id, method, params }))
    return answer.promise
  }

  #take({ id, method, params, ...rest }: Answer): void {
    if (id !== undefined) this.#asked.get(id)?.({ id, ...rest })
    if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded') {
      this.complaints.push(params)
    }
    if (method === 'Page.lifecycleEvent') {
      const { name, loaderId } = params as { readonly name: string; readonly loaderId: string }
      if (name === 'load') this.#loaded.add(loaderId)
      this.#moved.wake()
    }
    if (method === 'Network.requestWillBeSent') {
      const { request } = params as { readonly request: { readonly url: string } }
      this.addresses.push(request.url)
    }
  }
}

/** Returns the port that a browser says on its stderr. */
async function portOf(child: ChildProcess): Promise<string> {
  if (!child.stderr) throw new Error('stderr is a pipe')
  const lines: string[] = []
  for await (const line of createInterface(child.stderr)) {
    const [, port] = /^DevTools listening on ws:\/\/[^:]+:(\d+)\//.exec(line) ?? []
    if (port) {
      child.stderr.resume()
      return port
    }
    lines.push(line)
  }
  throw new Error(`the browser ended: ${lines.join('\n')}`)
}
