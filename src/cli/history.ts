/** The time of a namespace: `tailrace roots`, `log`, `diff`, and roots that are kept by name:
 *  `pin`, `unpin`, `pins`. See rfc/10.
 *  Invariant: output goes out page by page; pages follow until the limit, or the end. */

import type { DiffEntry, LogEntry, RootEntry, Side } from '../api/history.js'
import { pageMax } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { argument, type CommandContext, command, flag, key, option, pinName } from './command.js'
import { at, json, namespace, place, utc } from './options.js'
import type { Line } from './output.js'
import { jsonLine, quoted } from './quote.js'
import { atRoot, type NamedRoot, RootPages, rootOrPin, wholeRoot } from './roots.js'
import { withStore } from './session.js'
import { integer, shortRef, sizeText, timeText } from './units.js'

const letters = { added: 'A', removed: 'D', changed: 'M' } as const
const letterColors = { added: 'green', removed: 'red', changed: 'yellow' } as const
const unlimited = Number.MAX_SAFE_INTEGER

const limit = option('--limit <n>', 'at most so many', integer(1))

export const roots = command({
  name: 'roots',
  summary: 'list the retained roots: seq, time, ref, pins',
  description:
    'List the roots that can still be read, compared and restored from, oldest first. How many are ' +
    'retained is a setting: see "ns config".',
  options: {
    newest: flag('--newest', 'newest first'),
    after: option('--after <seq>', 'only those after a seq', integer()),
    before: option('--before <seq>', 'only those before a seq', integer()),
    limit,
    namespace,
    utc,
    json,
    ...place,
  },
  examples: ['tailrace roots --newest --limit 10', 'tailrace roots -n staging --json'],
  run: async (call) => {
    const { namespace, newest, limit = unlimited, ...options } = call.options
    return withStore(call, async (store) => {
      async function* pages(): Pages<RootEntry> {
        for (let left = limit, { after, before } = options; ; ) {
          const scope = defined({ namespace, after, before, newest: newest || undefined })
          const page = await store.history.roots({ ...scope, limit: Math.min(left, pageMax) })
          yield page.roots
          left -= page.roots.length
          const last = page.roots.at(-1)?.seq
          if (!page.more || left <= 0 || last === undefined) return { more: page.more }
          if (newest) before = last
          else after = last
        }
      }
      await print(call, { name: 'roots', head: {} }, pages(), (entry) => rootLine(entry, options))
    })
  },
})

export const log = command({
  name: 'log',
  summary: 'show what a key was made, newest first',
  description:
    'Show each retained root that changed a key, or anything below a directory: seq, time, what it ' +
    'was made. Links are not followed.',
  parameters: { key: argument('<key>', key) },
  options: {
    before: option('--before <seq>', 'only what was before a seq', integer()),
    limit,
    namespace,
    utc,
    json,
    ...place,
  },
  examples: [
    'tailrace log settings/colour',
    'tailrace log settings --limit 20',
    'tailrace log settings/colour --json',
  ],
  run: async (call) => {
    const { key } = call.args
    const { namespace, limit = unlimited, ...options } = call.options
    return withStore(call, async (store) => {
      async function* pages(): Pages<LogEntry> {
        for (let left = limit, { before } = options; ; ) {
          const scope = defined({ namespace, before })
          const page = await store.history.log(key, { ...scope, limit: Math.min(left, pageMax) })
          yield page.entries
          left -= page.entries.length
          if (page.next === undefined || left <= 0) return { more: page.next !== undefined }
          before = page.next
        }
      }
      const line = (entry: LogEntry) => logLine(entry, options)
      await print(call, { name: 'entries', head: { key } }, pages(), line)
    })
  },
})

export const diff = command({
  name: 'diff',
  summary: 'show which keys differ between two roots',
  description:
    'Show the keys that were added (A), removed (D) and changed (M) from one root to another. A root ' +
    'is a seq, a ref, or the name of a pin; "now", the default of the second, is the newest.',
  parameters: {
    from: argument('<from>', rootOrPin),
    to: argument('[to]', rootOrPin),
    prefix: argument('[prefix]', key),
  },
  options: {
    long: flag('-l, --long', 'with sizes, before and after', { excludes: ['json'] }),
    limit,
    after: option('--after <key>', 'only keys after this one'),
    namespace,
    json,
    ...place,
  },
  examples: [
    'tailrace diff 120',
    'tailrace diff release-1 now settings',
    'tailrace diff 120 140 -l',
  ],
  run: async (call) => {
    const { prefix } = call.args
    const { namespace, limit = unlimited, after, long } = call.options
    const named = isNow(call.args.to) ? undefined : call.args.to
    return withStore(call, async (store) => {
      const first = await store.history.diff({
        ...defined({ namespace, prefix, after }),
        from: await rootOf(store, call.args.from, namespace),
        ...(named ? { to: await rootOf(store, named, namespace) } : {}),
        limit: Math.min(limit, pageMax),
      })
      const { from, to } = first
      const roots = new RootPages(call, { seq: to, given: named !== undefined })
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
      await print(
        call,
        { name: 'entries', head: { from, to } },
        pages(),
        long ? longLine : shortLine,
      )
    })
  },
})

type RootOrPin = NamedRoot | { readonly type: 'pin'; readonly pin: string }

function isNow(root: RootOrPin | undefined): boolean {
  return root?.type === 'pin' && root.pin === 'now'
}

/** Finds the root that was named by a seq, a ref or a pin. Throws ENOENT. */
async function rootOf(
  store: Store,
  root: RootOrPin,
  namespace: string = primary,
): Promise<number | string> {
  if (root.type !== 'pin') return wholeRoot(store, root, namespace)
  const pin = (await store.history.pins()).find(({ name }) => name === root.pin)
  if (pin?.namespace === namespace) return pin.ref
  const where = pin ? `: that pin is of namespace ${pin.namespace}` : ''
  throw new TailraceError('ENOENT', `"${root.pin}" is neither a seq, a ref nor a pin${where}`)
}

export const pin = command({
  name: 'pin',
  summary: 'keep a root by name, whatever the retention',
  parameters: { name: argument('<name>') },
  options: { at, namespace, json, ...place },
  examples: ['tailrace pin release-1', 'tailrace pin before-cleanup --at 120'],
  run: async (call) => {
    const { args, options, stdout } = call
    const { namespace } = options
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, namespace)
      const made = await store.history.pin(args.name, { ...defined({ namespace }), ...at })
      if (options.json) await stdout.json(made)
      else await stdout.line(`${made.seq} ${made.ref}`)
    })
  },
})

export const unpin = command({
  name: 'unpin',
  summary: 'let a pinned root go',
  parameters: { name: argument('<name>', pinName) },
  options: { json, ...place },
  examples: ['tailrace unpin release-1'],
  run: async (call) => {
    const { name } = call.args
    return withStore(call, async (store) => {
      await store.history.unpin(name)
      if (call.options.json) await call.stdout.json({ name })
    })
  },
})

export const pins = command({
  name: 'pins',
  summary: 'list the pins of all namespaces',
  options: { utc, json, ...place },
  examples: ['tailrace pins'],
  run: async (call) => {
    const { options, stdout } = call
    return withStore(call, async (store) => {
      const all = await store.history.pins()
      if (options.json) return stdout.json({ pins: all })
      for (const { name, namespace, seq, time, ref } of all) {
        const when = timeText(time, options)
        await stdout.line(`${name.padEnd(20)} ${namespace} ${seq} ${when} ${shortRef(ref)}`)
      }
    })
  },
})

type Pages<Entry> = AsyncGenerator<
  readonly Entry[],
  { readonly more: boolean; readonly later?: readonly number[] }
>
type PrintCall = Pick<CommandContext, 'stdout'> & { readonly options: { readonly json: boolean } }
type Utc = { readonly utc: boolean }

/** Prints all pages: as lines, or as one JSON document that is written page by page. */
async function print<Entry>(
  { options, stdout }: PrintCall,
  document: { readonly name: string; readonly head: Readonly<Record<string, unknown>> },
  pages: Pages<Entry>,
  line: (entry: Entry) => Line,
): Promise<void> {
  const { json } = options
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

function rootLine({ seq, time, ref, pins }: RootEntry, options: Utc): string {
  const names = pins ? ` ${pins.join(' ')}` : ''
  return `${String(seq).padStart(8)} ${timeText(time, options)} ${shortRef(ref)}${names}`
}

function logLine({ seq, time, value }: LogEntry, options: Utc): string {
  const what = value ? `${value.type} ${sizeText(value.size)} ${value.ref}` : 'removed'
  return `${String(seq).padStart(8)} ${timeText(time, options)} ${what}`
}

/** Returns the line of a key that changed: its letter, and the key. */
export function shortLine({ change, key }: DiffEntry): Line {
  return [{ color: letterColors[change], text: letters[change] }, ` ${quoted(key)}`]
}

function longLine(entry: DiffEntry): Line {
  const { before, after } = entry
  return [...shortLine(entry), ` ${sizeOf(before)} ${sizeOf(after)}`]
}

function sizeOf(side: Side | undefined): string {
  if (!side) return '-'
  return side.type === 'dir' ? 'dir' : sizeText(side.size)
}
