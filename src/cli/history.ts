/** `tailrace roots`, `log`, `diff`: the time of a namespace. See rfc/10.
 *  Invariant: output goes out page by page; pages follow until the limit, or the end. */

import type { DiffEntry, LogEntry, RootEntry, Side } from '../api/history.js'
import { pageMax } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { isBlobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { shortRef, timeText } from './format.js'
import {
  argument,
  defined,
  type Invocation,
  isShortRef,
  type Options,
  parseInteger,
} from './invocation.js'
import { RootPages } from './pages.js'
import { jsonLine, quoted } from './quote.js'
import { withStore } from './session.js'
import { wholeRef } from './short-refs.js'
import { sizeText } from './size.js'

const letters = { added: 'A', removed: 'D', changed: 'M' } as const

export async function roots(invocation: Invocation): Promise<undefined> {
  const { options } = invocation
  const newest = options.flag('newest')
  const { namespace, limit } = scopeOf(invocation)
  const bounds = { after: options.integer('after'), before: options.integer('before') }
  return withStore(invocation, async (store) => {
    async function* pages(): Pages<RootEntry> {
      for (let left = limit, { after, before } = bounds; ; ) {
        const scope = defined({ namespace, after, before, ...(newest ? { newest } : {}) })
        const page = await store.history.roots({ ...scope, limit: Math.min(left, pageMax) })
        yield page.roots
        left -= page.roots.length
        const last = page.roots.at(-1)?.seq
        if (!page.more || left <= 0 || last === undefined) return { more: page.more }
        if (newest) before = last
        else after = last
      }
    }
    await print(invocation, { name: 'roots', head: {} }, pages(), (root) => rootLine(root, options))
    return undefined
  })
}

export async function log(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { namespace, limit } = scopeOf(invocation)
  let before = invocation.options.integer('before')
  return withStore(invocation, async (store) => {
    async function* pages(): Pages<LogEntry> {
      for (let left = limit; ; ) {
        const scope = defined({ namespace, before })
        const page = await store.history.log(key, { ...scope, limit: Math.min(left, pageMax) })
        yield page.entries
        left -= page.entries.length
        if (page.next === undefined || left <= 0) return { more: page.next !== undefined }
        before = page.next
      }
    }
    const line = (entry: LogEntry) => logLine(entry, invocation.options)
    await print(invocation, { name: 'entries', head: { key } }, pages(), line)
    return undefined
  })
}

export async function diff(invocation: Invocation): Promise<undefined> {
  const { options } = invocation
  const [, second = 'now', prefix] = invocation.arguments
  const { namespace, limit } = scopeOf(invocation)
  const line = options.flag('long') ? longLine : shortLine
  return withStore(invocation, async (store) => {
    const first = await store.history.diff({
      ...defined({ namespace, prefix, after: options.text('after') }),
      from: await rootOf(store, argument(invocation, 0), namespace),
      ...(second === 'now' ? {} : { to: await rootOf(store, second, namespace) }),
      limit: Math.min(limit, pageMax),
    })
    const { from, to } = first
    const roots = new RootPages(invocation, { seq: to, given: second !== 'now' })
    async function* pages(): Pages<DiffEntry> {
      for (let left = limit, page = first; ; ) {
        yield page.entries
        left -= page.entries.length
        const after = page.entries.at(-1)?.key
        const { more } = page
        if (!more || left <= 0 || after === undefined) return { more, ...roots.later }
        const asked = { ...defined({ namespace, prefix }), from, after }
        page = await roots.next(
          (at) =>
            store.history.diff({
              ...asked,
              ...defined({ to: at }),
              limit: Math.min(left, pageMax),
            }),
          (next) => next.to,
        )
      }
    }
    await print(invocation, { name: 'entries', head: { from, to } }, pages(), line)
    return undefined
  })
}

type Pages<Entry> = AsyncGenerator<
  readonly Entry[],
  { readonly more: boolean; readonly later?: readonly number[] }
>

/** A seq and a ref are what they are; anything else is the name of a pin. Throws ENOENT. */
async function rootOf(
  store: Store,
  text: string,
  namespace: string | undefined,
): Promise<number | string> {
  if (isBlobref(text)) return text
  if (isShortRef(text)) return wholeRef(store, text, namespace)
  if (/^\d+$/.test(text)) return parseInteger('a seq', text)
  const pin = (await store.history.pins()).find(({ name }) => name === text)
  if (pin?.namespace === (namespace ?? primary)) return pin.ref
  const where = pin ? `: that pin is of namespace ${pin.namespace}` : ''
  throw new TailraceError('ENOENT', `"${text}" is neither a seq, a ref nor a pin${where}`)
}

/** JSON is one document, written page by page. */
async function print<Entry>(
  { options, stdout }: Invocation,
  document: { readonly name: string; readonly head: Readonly<Record<string, unknown>> },
  pages: Pages<Entry>,
  line: (entry: Entry) => string,
): Promise<void> {
  const json = options.flag('json')
  if (json) await stdout.write(`${jsonLine(document.head).slice(0, -1)}`)
  const comma = Object.keys(document.head).length > 0 ? ',' : ''
  let between = `${comma}"${document.name}":[`
  for (;;) {
    const page = await pages.next()
    if (page.done) {
      const end = JSON.stringify(page.value).slice(1)
      if (json) await stdout.line(`${between === ',' ? '' : between}],${end}`)
      return
    }
    if (page.value.length === 0) continue
    if (json) {
      const entries = page.value.map(jsonLine)
      await stdout.write(between + entries.join(','))
      between = ','
    } else await stdout.lines(page.value.map(line))
  }
}

function rootLine({ seq, time, ref, pins }: RootEntry, options: Options): string {
  const names = pins ? ` ${pins.join(' ')}` : ''
  return `${String(seq).padStart(8)} ${timeText(time, options)} ${shortRef(ref)}${names}`
}

function logLine({ seq, time, value }: LogEntry, options: Options): string {
  const what = value ? `${value.type} ${sizeText(value.size)} ${value.ref}` : 'removed'
  return `${String(seq).padStart(8)} ${timeText(time, options)} ${what}`
}

function shortLine({ change, key }: DiffEntry): string {
  return `${letters[change]} ${quoted(key)}`
}

function longLine(entry: DiffEntry): string {
  const { before, after } = entry
  return `${shortLine(entry)} ${sizeOf(before)} ${sizeOf(after)}`
}

function sizeOf(side: Side | undefined): string {
  if (!side) return '-'
  return side.type === 'dir' ? 'dir' : sizeText(side.size)
}

function scopeOf({ options }: Invocation): {
  readonly namespace: string | undefined
  readonly limit: number
} {
  const limit = options.integer('limit', 1) ?? Number.MAX_SAFE_INTEGER
  return { namespace: options.text('namespace'), limit }
}
