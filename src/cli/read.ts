/** The commands that read keys once: get, ls, stat. See rfc/6 for what they read. */

import type { ListEntry, Reading, Stat } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { argument, type CommandContext, command, flag, key, option } from './command.js'
import { at, force, json, namespace, place } from './options.js'
import type { Line, Output } from './output.js'
import { counted } from './progress.js'
import { jsonLine, quoted } from './quote.js'
import { atRoot, RootPages } from './roots.js'
import { withStore } from './session.js'
import { integer, sizeText } from './units.js'
import { ValueOutput } from './value-output.js'

export const get = command({
  name: 'get',
  summary: "write a key's bytes to stdout",
  parameters: { key: argument('<key>', key) },
  options: {
    namespace,
    at,
    index: option('--index <n>', 'only the blob of that append', integer(), {
      excludes: ['offset'],
    }),
    offset: option('--offset <bytes>', 'start at that byte', integer()),
    force,
    json,
    ...place,
  },
  examples: [
    'tailrace get ci/build-7/status',
    'tailrace get big.tar | tar t',
    'tailrace get log --index 0',
  ],
  run: async (call) => {
    const { args, options, stdout } = call
    const part = defined({ index: options.index, from: options.offset })
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, options.namespace)
      const scope = defined({ namespace: options.namespace })
      const reading = await store.read(args.key, { ...scope, ...at, ...part })
      if (!reading) throw missing(args.key, options.namespace)
      if (options.json) return printValueJson(stdout, reading)
      const output = new ValueOutput(stdout, { force: options.force })
      for await (const chunk of shown(reading, call)) await output.write(chunk)
      await output.end()
    })
  },
})

/** Returns the bytes of the value. Their progress is shown, unless the value itself goes to a
 *  terminal. */
function shown(
  { stat, chunks }: Reading,
  {
    options,
    stdout,
    stderr,
  }: CommandContext & {
    readonly options: { readonly index?: number | undefined; readonly offset?: number | undefined }
  },
): AsyncIterable<Uint8Array> {
  if (stdout.isTerminal) return chunks
  const { index, offset = stat.base?.size ?? 0 } = options
  const total = index === undefined ? stat.size - offset : undefined
  return counted(chunks, stderr, { title: 'read', total })
}

/** Prints a value as one JSON document, written as the value comes: its stat, and its bytes in
 *  base64. */
async function printValueJson(stdout: Output, { stat, chunks }: Reading): Promise<void> {
  await stdout.write(`${jsonLine(stat).slice(0, -1)},"data":{"base64":"`)
  let rest: Uint8Array = new Uint8Array(0)
  for await (const chunk of chunks) {
    const bytes = Buffer.concat([rest, chunk])
    // Three bytes make four letters of base64; the rest waits for the next chunk.
    const whole = bytes.length - (bytes.length % 3)
    await stdout.write(bytes.toString('base64', 0, whole))
    rest = bytes.subarray(whole)
  }
  await stdout.line(`${Buffer.from(rest).toString('base64')}"}}`)
}

export const stat = command({
  name: 'stat',
  summary: "show a key's type, ref, count and size",
  parameters: { key: argument('<key>', key) },
  options: {
    namespace,
    at,
    nofollow: flag('--nofollow', 'of a link, the link itself'),
    json,
    ...place,
  },
  examples: ['tailrace stat log', 'tailrace stat latest --nofollow --json'],
  run: async (call) => {
    const { args, options, stdout } = call
    const scope = defined({
      namespace: options.namespace,
      nofollow: options.nofollow || undefined,
    })
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, options.namespace)
      const found = await store.stat(args.key, { ...scope, ...at })
      if (!found) throw missing(args.key, options.namespace)
      if (options.json) await stdout.json(found)
      else await stdout.lines(statLines(found))
    })
  },
})

function statLines(found: Stat): string[] {
  return Object.entries(found).map(([name, value]) => {
    const text = typeof value === 'object' ? jsonLine(value) : quoted(String(value))
    return `${name.padEnd(9)} ${text}`
  })
}

export const ls = command({
  name: 'ls',
  summary: 'list a directory',
  parameters: { key: argument('[key]', key) },
  options: {
    namespace,
    at,
    long: flag('-l, --long', 'type, count and bytes too', { excludes: ['json'] }),
    recursive: flag('-R, --recursive', 'all that is below, at any depth'),
    null: flag('-0, --null', 'names as they are, each followed by a NUL', {
      excludes: ['long', 'json'],
    }),
    after: option('--after <name>', 'start after that name'),
    limit: option('--limit <n>', 'at most so many names (default: all)', integer()),
    json,
    ...place,
  },
  examples: ['tailrace ls', 'tailrace ls -l ci', 'tailrace ls -R ci --json'],
  run: async (call) => {
    const { args, options, stdout } = call
    const { key = '/' } = args
    const { after, limit } = options
    const scope = defined({
      namespace: options.namespace,
      recursive: options.recursive || undefined,
    })
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, options.namespace)
      const first = await store.list(key, { ...scope, ...at, ...defined({ after, limit }) })
      const roots = new RootPages(call, { seq: first.seq, given: options.at !== undefined })
      async function* pages(): Pages {
        let page = first
        for (let left = limit ?? Number.POSITIVE_INFINITY; ; ) {
          yield page.entries
          left -= page.entries.length
          const after = page.entries.at(-1)?.name
          const { more } = page
          if (!more || left <= 0 || after === undefined) return { more, ...roots.later }
          const rest = Number.isFinite(left) ? { limit: left } : {}
          page = await roots.next(
            (at) => store.list(key, { ...scope, ...defined({ at }), after, ...rest }),
            ({ seq }) => seq,
          )
        }
      }
      if (options.json) await printJson(stdout, first.seq, pages())
      else if (options.null) await printNames(stdout, pages())
      else await printText(stdout, pages(), options)
    })
  },
})

type PagesEnd = { readonly more: boolean; readonly later?: readonly number[] }
type Pages = AsyncGenerator<readonly ListEntry[], PagesEnd>

async function printText(
  stdout: Output,
  pages: Pages,
  { long }: { readonly long: boolean },
): Promise<void> {
  const line = long ? longLine : (entry: ListEntry): Line => quoted(entry.name)
  for await (const entries of pages) {
    if (entries.length > 0) await stdout.lines(entries.map(line))
  }
}

async function printNames(stdout: Output, pages: Pages): Promise<void> {
  for await (const entries of pages) {
    await stdout.write(entries.map(({ name }) => `${name}\0`).join(''))
  }
}

/** Prints a listing as one JSON document, written page by page. */
async function printJson(stdout: Output, seq: number, pages: Pages): Promise<void> {
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

function longLine(entry: ListEntry): Line {
  const { type, count, size, name } = entry
  const columns = [String(count).padStart(8), sizeText(size).padStart(6)]
  const rest = ` ${columns.join(' ')} ${quoted(name)}${type === 'dir' ? '/' : ''}`
  return [{ color: type === 'dir' ? 'blue' : 'dim', text: type.padEnd(7) }, rest]
}

function missing(key: string, namespace: string = primary): TailraceError {
  return new TailraceError('ENOENT', `there is no key "${key}" in namespace ${namespace}`)
}
