/** `tailrace watch`: a key's appends as raw bytes, or its values, as they come. See rfc/7; its
 *  rule 17 is about appends that were dropped before they were read.
 *  Invariant: the next event is asked for after the last one was printed. Nothing is left out
 *  without a line on stderr. */

import type { Store } from '../api/store.js'
import type {
  ChangesEvent,
  From,
  Position,
  ValueEvent,
  WatchEvent,
  WatchOptions,
} from '../api/watch.js'
import { defined } from '../base/shape.js'
import { isCode, toTailraceError } from '../error.js'
import { position } from '../wire/frames.js'
import { parse } from '../wire/schema.js'
import {
  argument,
  type CommandContext,
  choice,
  command,
  flag,
  key,
  type OptionValues,
  option,
  UsageError,
} from './command.js'
import { shortLine } from './history.js'
import { leaseLine } from './leases.js'
import { force, json, longNamespace, place } from './options.js'
import type { Output } from './output.js'
import { root, wholeRoot } from './roots.js'
import { followStore } from './session.js'
import { integer } from './units.js'
import { ValueOutput } from './value-output.js'

const options = {
  namespace: longNamespace,
  mode: option(
    '--mode <mode>',
    'append, value or changes (default: append; changes for a key with / at its end)',
    choice(['append', 'value', 'changes']),
  ),
  from: option(
    '--from <index>',
    'start at that append; -5: the last five',
    integer(Number.MIN_SAFE_INTEGER),
    { excludes: ['offset', 'last'] },
  ),
  offset: option('--offset <bytes>', 'start at that byte', integer(), { excludes: ['last'] }),
  last: option('-n, --last <n>', 'start with the last n appends', integer()),
  waitCreate: flag('--wait-create', 'wait until the key is there'),
  uniq: flag('--uniq', 'value mode: only values that differ from the one before'),
  lease: flag('--lease', "value mode: who holds the key's lease, too"),
  since: option(
    '--since <seq|time>',
    'begin with what came after that retained root (append and changes mode; 10m: ago)',
    root,
    { excludes: ['from', 'offset', 'last'] },
  ),
  initial: flag('--initial', 'changes mode: begin with all that is there', { excludes: ['since'] }),
  follow: flag('--no-follow', 'end when all that is there was printed'),
  force,
  json,
  ...place,
}

type WatchCall = CommandContext & { readonly options: OptionValues<typeof options> }

export const watch = command({
  name: 'watch',
  summary: 'follow a key: its appends, its values, or (DIR/) the keys below it',
  description:
    'Follow a key. In append mode (the default) the bytes are printed as they are, from the first ' +
    'one, and a sealed key ends the watch; a key that was overwritten ends it with an error. In ' +
    'value mode each value is printed on a line of its own. In changes mode (the default for a key that ends ' +
    'with a slash) the keys at and below it that were added (A), removed (D) and changed (M) are printed.',
  parameters: { key: argument('<key>', key) },
  options,
  examples: [
    'tailrace watch log',
    'tailrace watch log -n 10',
    'tailrace watch status --mode value --uniq',
    'tailrace watch log --json',
    'tailrace watch builds/',
    'tailrace watch builds/ --since 120 --json',
  ],
  makesStore: 'waitCreate',
  run: async (call) => {
    const { args, options, stdout } = call
    const { namespace } = options
    const mode = options.mode ?? (args.key.endsWith('/') ? 'changes' : 'append')
    checkMode(call, mode)
    return followStore(call, async (store) => {
      const asked = defined({
        namespace,
        from: await startOf(call, store, args.key),
        waitCreate: options.waitCreate || undefined,
        uniq: options.uniq || undefined,
        lease: options.lease || undefined,
        since: mode === 'changes' ? await sinceOf(call, store) : undefined,
        initial: options.initial || undefined,
      })
      const watching =
        mode === 'append'
          ? logEvents(call, store, args.key, asked)
          : store.watch(args.key, { mode, ...asked })
      const log = new ValueOutput(stdout, { force: options.force })
      // With --no-follow, the watch of a key that was not there yet ends after the first append.
      let missing = false
      try {
        for await (const event of watching) {
          if (options.json) await stdout.json(jsonOf(event))
          else if (event.type === 'append') await log.write(event.data)
          else if (event.type === 'value') await printValue(call, store, args.key, event)
          else if (event.type === 'lease') await stdout.line(`lease: ${leaseLine(event)}`)
          else if (event.type === 'changes') await printChanges(stdout, event)
          missing ||= mode === 'append' && event.type === 'live' && event.position === undefined
          const shown = missing
            ? event.type === 'append' && !event.more
            : event.type === 'live' || event.type === 'value'
          if (shown && !options.follow) break
          if (shown) await log.release()
        }
      } finally {
        await log.release()
      }
      await log.end()
    })
  },
})

/** Throws UsageError for options of the other mode. */
function checkMode({ options }: WatchCall, mode: WatchOptions['mode']): void {
  if (options.initial && mode !== 'changes') {
    throw new UsageError('--initial goes with --mode changes, or a key with / at its end')
  }
  if (options.since !== undefined && mode === 'value') {
    throw new UsageError('--since goes with --mode append or changes: a watch of values begins now')
  }
  if (mode !== 'value') {
    const other = options.lease ? '--lease' : options.uniq ? '--uniq' : undefined
    if (other) throw new UsageError(`${other} goes with --mode value`)
  }
  if (mode === 'append') return
  if (mode === 'changes' && options.waitCreate) {
    throw new UsageError(
      '--wait-create means nothing in changes mode: a key that is not there changes',
    )
  }
  if ((options.from ?? options.offset ?? options.last) === undefined) return
  throw new UsageError(
    '--from, --offset and --last go with --mode append: "tailrace log" has the values before',
  )
}

/** Returns the place where the watch begins; `--last 0` is the end of what is there. */
async function startOf(
  { options }: WatchCall,
  store: Store,
  key: string,
): Promise<From | undefined> {
  const { from, offset, last, since, namespace } = options
  if (since !== undefined && !key.endsWith('/') && options.mode !== 'changes') {
    const at = await wholeRoot(store, since, namespace)
    return (await store.stat(key, { at, ...defined({ namespace }) }))?.count ?? 0
  }
  if (offset !== undefined) return { offset }
  if (last === undefined) return from
  if (last > 0) return -last
  const stat = await store.stat(key, defined({ namespace }))
  return stat?.count ?? 0
}

/** Returns the seq after which a watch of changes begins. */
async function sinceOf({ options }: WatchCall, store: Store): Promise<number | undefined> {
  const { since, namespace } = options
  if (since === undefined) return undefined
  const at = await wholeRoot(store, since, namespace)
  if (typeof at === 'number') return at
  throw new UsageError('--since takes a seq or a time: a ref may be that of several roots')
}

/** Prints the keys that changed, a line each. */
async function printChanges(stdout: Output, { entries }: ChangesEvent): Promise<void> {
  await stdout.lines(entries.map(shortLine))
}

/** Prints a value, with a newline at its end. */
async function printValue(
  call: WatchCall,
  store: Store,
  key: string,
  event: ValueEvent,
): Promise<void> {
  const output = new ValueOutput(call.stdout, { force: call.options.force, isLine: true })
  const chunks = event.data ? [event.data] : await largeValue(call, store, key, event)
  if (!chunks) return
  for await (const chunk of chunks) await output.write(chunk)
  await output.end()
}

async function largeValue(
  { options, stderr }: WatchCall,
  store: Store,
  key: string,
  event: ValueEvent,
): Promise<AsyncIterable<Uint8Array> | readonly Uint8Array[] | undefined> {
  const scope = defined({ namespace: options.namespace })
  try {
    const reading = await store.read(key, { at: event.seq, ...scope })
    return reading?.chunks ?? []
  } catch (error) {
    if (!isCode(error, 'ECOMPACTED')) throw error
    // The retention was faster than this reader; newer values follow.
    const { message } = toTailraceError(error)
    await stderr.line(`tailrace: the value of seq ${event.seq} is skipped: ${message}`)
    return undefined
  }
}

/** Returns an event for JSON, with its bytes as {"base64": …}. */
function jsonOf(event: WatchEvent): unknown {
  if (!('data' in event) || event.data === undefined) return event
  const { data, ...rest } = event
  return { ...rest, data: { base64: Buffer.from(data).toString('base64') } }
}

/** The number of watches in a row that may be overtaken before they deliver anything. */
const overtakenMax = 16

/** Yields the appends of a key, and goes on where a trim, or the cap of the log, dropped some
 *  before they were read; a line on stderr says which. A watch that did not begin is not resumed,
 *  so that a reader who asks for dropped appends gets an error. Throws what a watch throws;
 *  ECOMPACTED where it did not begin, or is overtaken again and again. */
export async function* logEvents(
  { stderr }: Pick<CommandContext, 'stderr'>,
  store: Store,
  key: string,
  options: Omit<WatchOptions, 'mode'>,
): AsyncGenerator<WatchEvent, void, undefined> {
  let from = options.from
  let next: number | undefined
  let live = false
  for (let overtaken = 0; ; overtaken++) {
    try {
      const start = from === undefined ? {} : { from }
      for await (const event of store.watch(key, { ...options, ...start, mode: 'append' })) {
        // A resumed watch says again that it is live, which the reader knows already.
        if (event.type === 'live' && live) continue
        live ||= event.type === 'live'
        if (event.type === 'append') next = event.index + 1
        else if (event.type === 'live' || event.type === 'end') next ??= event.position?.index
        overtaken = 0
        yield event
      }
      return
    } catch (error) {
      const oldest = next === undefined ? undefined : oldestOf(error)
      if (next === undefined || !oldest || overtaken === overtakenMax) throw error
      const dropped = `appends ${next} to ${oldest.index - 1} were dropped before they were read`
      await stderr.line(`tailrace: ${dropped}: what follows begins with append ${oldest.index}`)
      from = oldest
      next = oldest.index
    }
  }
}

function oldestOf(error: unknown): Position | undefined {
  if (!isCode(error, 'ECOMPACTED')) return undefined
  const { state } = error.failed ?? {}
  if (typeof state !== 'object' || state === null || !('position' in state)) return undefined
  return parse(position, state.position, 'position')
}
