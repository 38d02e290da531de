/** `tailrace cache`: results of work by the ids of their actions, and the layers that hold them. Ids
 *  may be cut to a beginning. See rfc/22. */

import type {
  ActionDifference,
  Cache,
  Hit,
  LayerBounds,
  LayerView,
  ResultView,
} from '../api/cache.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { toJson } from '../wire/bytes.js'
import {
  argument,
  type CommandContext,
  command,
  commandGroup,
  layerName,
  option,
  orNone,
  resultId,
  UsageError,
} from './command.js'
import { json, place, utc } from './options.js'
import { jsonLine } from './quote.js'
import { type PlaceCall, withStore } from './session.js'
import { duration, integer, size, sizeText, timeText } from './units.js'

/** The number of hex digits of a short id. */
const shortDigits = 12

const layer = option('--layer <name>', 'the layer (default: main)', layerName)

const ls = command({
  name: 'ls',
  summary: "list a layer's own results: id, time, how long it took, size, maker",
  options: {
    layer,
    limit: option('--limit <n>', 'at most so many', integer(1)),
    after: option('--after <id>', 'only those after an id'),
    utc,
    json,
    ...place,
  },
  examples: ['tailrace cache ls', 'tailrace cache ls --layer pr-7 --json'],
  run: async (call) => {
    const { options, stdout } = call
    return withCache(call, async (cache) => {
      const all: ResultView[] = []
      let left = options.limit ?? Number.POSITIVE_INFINITY
      for (let { after } = options; left > 0; ) {
        const page = await cache.results.list(defined({ after }))
        const results = page.results.slice(0, left)
        left -= results.length
        if (options.json) all.push(...results)
        else await stdout.lines(results.map((result) => resultLine(result, options)))
        after = results.at(-1)?.id
        if (!page.more) break
      }
      if (options.json) await stdout.json({ results: all })
    })
  },
})

const show = command({
  name: 'show',
  summary: 'show a result: its action, its outputs, who made it, when, with which code',
  parameters: { id: argument('<id>', resultId) },
  options: { layer, utc, json, ...place },
  examples: ['tailrace cache show 2c34576f67d2', 'tailrace cache show 2c34576f67d2 --json'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withCache(call, async (cache) => {
      const hit = await found(cache, args.id)
      const action = await hit.action()
      if (options.json) return stdout.json({ ...hit.result, action: shownAction(action) })
      const { result } = hit
      const { by, code } = result
      const outputs = Object.entries(result.outputs).map(
        ([name, { size }]) => `${jsonLine(name)} ${sizeText(size)}`,
      )
      const fields = {
        id: result.id,
        layer: result.layer,
        by: makerOf(result),
        host: by.host,
        started: timeText(result.started, options),
        took: `${result.tookMs} ms`,
        ...(code !== undefined && { code }),
        token: `${result.token.incarnation}:${result.token.seq}`,
        outputs: outputs.join(', '),
        action: jsonLine(shownAction(action)),
      }
      await stdout.lines(
        Object.entries(fields).map(([name, value]) => `${name.padEnd(8)} ${value}`),
      )
    })
  },
})

const rm = command({
  name: 'rm',
  summary: "remove a layer's own results; who reads one reads on",
  parameters: { ids: argument('<id...>', resultId) },
  options: { layer, json, ...place },
  examples: ['tailrace cache rm 2c34576f67d2', 'tailrace cache rm 2c34576f67d2 --layer pr-7'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withCache(call, async (cache) => {
      const removed: string[] = []
      for (const start of args.ids) {
        // A whole id is not read: what stands there may be no result.
        const id = /^[0-9a-f]{64}$/.test(start) ? start : (await found(cache, start)).result.id
        if (!(await cache.results.remove(id))) {
          const message = `the layer ${cache.layer} has no result ${start} of its own`
          throw new TailraceError('ENOENT', message)
        }
        removed.push(id)
      }
      if (options.json) await stdout.json({ removed })
    })
  },
})

const why = command({
  name: 'why',
  summary: 'compare the actions of two results field by field: which input differs',
  parameters: { before: argument('<before>', resultId), after: argument('<after>', resultId) },
  options: { layer, json, ...place },
  examples: ['tailrace cache why 2c34576f67d2 5f03d0a1c2b4'],
  run: async (call) => {
    const { args } = call
    return withCache(call, async (cache) => {
      const [before, after] = await Promise.all(
        [args.before, args.after].map(async (id) => (await found(cache, id)).action()),
      )
      await printDifferences(call, cache.why(before, after))
    })
  },
})

const stat = command({
  name: 'stat',
  summary: 'show a layer: the layers above it, how many results it has, and their size',
  options: { layer, json, ...place },
  examples: ['tailrace cache stat', 'tailrace cache stat --layer pr-7 --json'],
  run: async (call) => {
    const { options, stdout } = call
    return withCache(call, async (cache) => {
      const view = await cache.layers.show(cache.layer)
      if (options.json) await stdout.json(view)
      else await stdout.line(layerLine(view))
    })
  },
})

const config = command({
  name: 'config',
  summary: 'change how many results of a layer are kept; those that are not used go first',
  options: {
    layer,
    keep: option('--keep <n>', 'at most so many results; none: all', orNone(integer())),
    keepAge: option('--keep-age <time>', 'what was used within: 12h, 30d; none', orNone(duration)),
    keepSize: option('--keep-size <bytes>', 'at most so many bytes: 500M, 10G; none', orNone(size)),
    json,
    ...place,
  },
  examples: ['tailrace cache config --keep-age 30d --keep-size 10G'],
  makesStore: true,
  run: async (call) => {
    const { options, stdout } = call
    const { keep: keepResults, keepAge: keepAgeMs, keepSize } = options
    const change = defined({ keepResults, keepAgeMs, keepSize })
    if (Object.keys(change).length === 0) throw new UsageError('say which bound to change')
    return withCache(call, async (cache) => {
      const bounds = await cache.layers.configure(cache.layer, change)
      if (options.json) await stdout.json(bounds)
      else await stdout.line(boundsText(bounds))
    })
  },
})

const create = command({
  name: 'create',
  summary: 'create a layer: its reads go on in its parent, its results stay in it',
  parameters: { name: argument('<name>') },
  options: {
    parent: option('--parent <layer>', 'the layer above it (default: none)', layerName),
    json,
    ...place,
  },
  examples: ['tailrace cache create pr-7 --parent main'],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const { parent } = options
    return withStore(call, async (store) => {
      const { openCache } = await import('../cache/cache.js')
      await openCache(store).layers.create(args.name, defined({ parent }))
      if (options.json) await stdout.json({ layer: args.name, ...defined({ parent }) })
    })
  },
})

export const cache = commandGroup({
  name: 'cache',
  summary: 'show and remove cached results, say why one was missed, make layers',
  commands: [ls, show, rm, why, stat, config, create],
  examples: [
    'tailrace cache ls',
    'tailrace cache why 2c34576f67d2 5f03d0a1c2b4',
    'tailrace cache create pr-7 --parent main',
  ],
})

async function withCache<T>(
  call: PlaceCall & { readonly options: { readonly layer: string | undefined } },
  use: (cache: Cache) => Promise<T>,
): Promise<T> {
  return withStore(call, async (store) => {
    const { openCache } = await import('../cache/cache.js')
    return use(openCache(store, defined({ layer: call.options.layer })))
  })
}

async function found(cache: Cache, id: string): Promise<Hit> {
  const hit = await cache.results.load(id)
  if (hit) return hit
  const message = `there is no result ${id} in the layer ${cache.layer}, and in none above it`
  throw new TailraceError('ENOENT', message)
}

function resultLine(result: ResultView, zone: { readonly utc: boolean }): string {
  const size = Object.values(result.outputs).reduce((sum, output) => sum + output.size, 0)
  const columns = [
    result.id.slice(0, shortDigits),
    timeText(result.started, zone),
    `${result.tookMs} ms`.padStart(10),
    sizeText(size).padStart(6),
    makerOf(result),
  ]
  return columns.join('  ')
}

function makerOf({ by: { owner, pid } }: ResultView): string {
  return owner === undefined ? `pid ${pid}` : `${owner}, pid ${pid}`
}

function layerLine({ layer, parents, results, size, bounds }: LayerView): string {
  const above = parents.length === 0 ? '' : `, reads go on in ${parents.join(', ')}`
  return `${layer}: ${results} results, ${sizeText(size)}${above}; ${boundsText(bounds)}`
}

function boundsText({ keepAgeMs, keepResults, keepSize }: LayerBounds): string {
  const kept = [
    ...(keepResults === undefined ? [] : [`${keepResults} results`]),
    ...(keepAgeMs === undefined ? [] : [`${keepAgeMs / 1_000} s`]),
    ...(keepSize === undefined ? [] : [sizeText(keepSize)]),
  ]
  return kept.length === 0 ? 'all are kept' : `kept: ${kept.join(', ')}`
}

/** Prints the parts in which two actions differ, one a line, or as JSON. */
export async function printDifferences(
  {
    options,
    stdout,
  }: Pick<CommandContext, 'stdout'> & { readonly options: { readonly json: boolean } },
  found: readonly ActionDifference[],
): Promise<void> {
  if (options.json) return stdout.json({ differences: shownDifferences(found) })
  await stdout.lines(differenceLines(found))
}

/** Returns a line for each part in which two actions differ. */
export function differenceLines(found: readonly ActionDifference[]): readonly string[] {
  const side = (sides: object, name: 'before' | 'after') => {
    const field: unknown = Reflect.get(sides, name)
    return name in sides ? jsonLine(field) : 'nothing'
  }
  return shownDifferences(found).map((each) => {
    const path = each.path === '' ? 'the whole action' : each.path
    return `${path}: ${side(each, 'before')} → ${side(each, 'after')}`
  })
}

/** Returns differences of actions as JSON shows them. */
export function shownDifferences(found: readonly ActionDifference[]): readonly ActionDifference[] {
  return found.map(({ path, ...sides }) => ({
    path,
    ...('before' in sides && { before: shownAction(sides.before) }),
    ...('after' in sides && { after: shownAction(sides.after) }),
  }))
}

/** Returns an action as JSON shows it: bytes as `{"base64"}`, a bigint as `{"bigint"}`. */
export function shownAction(action: unknown): unknown {
  if (typeof action === 'bigint') return { bigint: String(action) }
  if (Array.isArray(action)) return action.map(shownAction)
  if (typeof action !== 'object' || action === null) return action
  if (action instanceof Uint8Array) return toJson(action)
  return Object.fromEntries(
    Object.entries(action).map(([name, field]) => [name, shownAction(field)]),
  )
}
