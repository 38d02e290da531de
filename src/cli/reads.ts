/** The commands that read keys once: get, ls, stat, root. See rfc/6 for what they read. */

import type { ListEntry, Reading, ReadScope, Stat } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import { TailraceError } from '../error.js'
import { argument, defined, type Invocation } from './invocation.js'
import type { Output } from './output.js'
import { RootPages } from './pages.js'
import { jsonLine, quoted } from './quote.js'
import { withStore } from './session.js'
import { sizeText } from './size.js'
import { ValueOutput } from './value-output.js'

export async function get(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  const part = defined({ index: options.integer('index'), from: options.integer('offset') })
  const scope = readScope(invocation)
  return withStore(invocation, async (store) => {
    const reading = await store.read(key, { ...scope, ...part })
    if (!reading) throw missing(key, invocation)
    if (options.flag('json')) {
      await printValueJson(stdout, reading)
      return undefined
    }
    const output = new ValueOutput(stdout, { force: options.flag('force') })
    for await (const chunk of reading.chunks) await output.write(chunk)
    await output.end()
    return undefined
  })
}

/** One document, written as the value comes: its stat, and its bytes as everywhere in JSON. */
async function printValueJson(stdout: Output, { stat, chunks }: Reading): Promise<void> {
  await stdout.write(`${jsonLine(stat).slice(0, -1)},"data":{"base64":"`)
  let rest: Uint8Array = new Uint8Array(0)
  for await (const chunk of chunks) {
    const bytes = Buffer.concat([rest, chunk])
    // Three bytes are four letters: what is over waits.
    const whole = bytes.length - (bytes.length % 3)
    await stdout.write(bytes.toString('base64', 0, whole))
    rest = bytes.subarray(whole)
  }
  await stdout.line(`${Buffer.from(rest).toString('base64')}"}}`)
}

export async function stat(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  const nofollow = options.flag('nofollow') ? { nofollow: true } : {}
  const scope = { ...readScope(invocation), ...nofollow }
  return withStore(invocation, async (store) => {
    const found = await store.stat(key, scope)
    if (!found) throw missing(key, invocation)
    if (options.flag('json')) await stdout.json(found)
    else await stdout.lines(statLines(found))
    return undefined
  })
}

export async function root(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  const namespace = options.text('namespace')
  const waitSeq = options.integer('waitSeq')
  return withStore(invocation, async (store) => {
    const view = await store.root(defined({ namespace, waitSeq }))
    if (options.flag('json')) await stdout.json(view)
    else await stdout.line(`${view.seq} ${view.ref}`)
    return undefined
  })
}

export async function ls(invocation: Invocation): Promise<undefined> {
  const { options } = invocation
  const nul = options.flag('null')
  const print = options.flag('json') ? printJson : nul ? printNames : printText
  const key = invocation.arguments[0] ?? '/'
  const limit = options.integer('limit')
  const start = defined({ after: options.text('after'), limit })
  const recursive = options.flag('recursive') ? { recursive: true } : {}
  const scope = { ...readScope(invocation), ...recursive }
  return withStore(invocation, async (store) => {
    const first = await store.list(key, { ...scope, ...start })
    const roots = new RootPages(invocation, { seq: first.seq, given: scope.at !== undefined })
    async function* pages(): Pages {
      let page = first
      for (let left = limit ?? Number.POSITIVE_INFINITY; ; ) {
        yield page.entries
        left -= page.entries.length
        const after = page.entries.at(-1)?.name
        const { more } = page
        if (!more || left <= 0 || after === undefined) return { more, ...roots.later }
        const rest = Number.isFinite(left) ? { limit: left } : {}
        const { at: _, ...there } = scope
        page = await roots.next(
          (at) => store.list(key, { ...there, ...defined({ at }), after, ...rest }),
          ({ seq }) => seq,
        )
      }
    }
    await print(invocation, first.seq, pages())
    return undefined
  })
}

type PagesEnd = { readonly more: boolean; readonly later?: readonly number[] }
type Pages = AsyncGenerator<readonly ListEntry[], PagesEnd>

async function printText(invocation: Invocation, _seq: number, pages: Pages): Promise<void> {
  const line = invocation.options.flag('long') ? longLine : (entry: ListEntry) => quoted(entry.name)
  for await (const entries of pages) {
    if (entries.length > 0) await invocation.stdout.lines(entries.map(line))
  }
}

async function printNames({ stdout }: Invocation, _seq: number, pages: Pages): Promise<void> {
  for await (const entries of pages) {
    await stdout.write(entries.map(({ name }) => `${name}\0`).join(''))
  }
}

/** One document, written page by page. */
async function printJson(invocation: Invocation, seq: number, pages: Pages): Promise<void> {
  const { stdout } = invocation
  await stdout.write(`{"seq":${seq},"entries":[`)
  let before = ''
  for (;;) {
    const page = await pages.next()
    if (page.done) {
      await stdout.line(`],${JSON.stringify(page.value).slice(1)}`)
      return
    }
    if (page.value.length === 0) continue
    await stdout.write(before + page.value.map(jsonLine).join(','))
    before = ','
  }
}

function longLine(entry: ListEntry): string {
  const { type, count, size, name } = entry
  const columns = [type.padEnd(7), String(count).padStart(8), sizeText(size).padStart(6)]
  return `${columns.join(' ')} ${quoted(name)}${type === 'dir' ? '/' : ''}`
}

function statLines(found: Stat): string[] {
  return Object.entries(found).map(([name, value]) => {
    const text = typeof value === 'object' ? jsonLine(value) : quoted(String(value))
    return `${name.padEnd(9)} ${text}`
  })
}

function readScope(invocation: Invocation): ReadScope {
  const { options } = invocation
  return defined({ namespace: options.text('namespace'), at: options.at('at') })
}

function missing(key: string, invocation: Invocation): TailraceError {
  const namespace = invocation.options.text('namespace') ?? primary
  return new TailraceError('ENOENT', `there is no key "${key}" in namespace ${namespace}`)
}
