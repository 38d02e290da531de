/** Is a history of one append key that of a list? Its final contents order all appends, so that every
 *  operation has a place: append i is the step from i to i + 1 items, a read of n stands at n. See rfc/6,
 *  rfc/7.
 *  Invariant: linear time but for sorting; each finding names the operation and what it should have
 *  seen. */

export type LogHistory = {
  readonly appends: readonly LogAppend[]
  readonly reads: readonly LogRead[]
  readonly streams: readonly LogStream[]
  /** All items at the end, when nothing is under way. */
  readonly final: readonly string[]
}

export type LogAppend = {
  readonly item: string
  readonly start: number
  /** Of an unknown one: when it can no more take effect. */
  readonly end: number
  /** `index`: what an acknowledged one was told. */
  readonly outcome: 'acknowledged' | 'failed' | 'unknown'
  readonly index?: number
}

export type LogRead = {
  readonly start: number
  readonly end: number
  /** Where it began to read. */
  readonly from: number
  readonly items: readonly string[]
}

/** One watcher. An event with `item` is an append, one without is `live` or the end. */
export type LogStream = {
  readonly name: string
  /** Where it was to begin. */
  readonly from: number
  readonly start: number
  readonly events: readonly LogEvent[]
}

export type LogEvent =
  | { readonly index: number; readonly item: string; readonly time: number }
  | { readonly marker: 'live' | 'end'; readonly index: number; readonly time: number }

/** What is wrong; nothing where all of it can be explained. */
export function checkLog(history: LogHistory): string[] {
  return [
    ...checkItems(history),
    ...checkReads(history),
    ...history.streams.flatMap((stream) => checkStream(stream, history.final)),
    ...checkTimes(history),
  ]
}

function checkItems({ appends, final }: LogHistory): string[] {
  const problems: string[] = []
  const places = new Map<string, number>()
  const known = new Map(appends.map((append) => [append.item, append]))
  for (const [index, item] of final.entries()) {
    const before = places.get(item)
    if (before !== undefined) problems.push(`duplicate: ${item} is at ${before} and at ${index}`)
    places.set(item, index)
    const append = known.get(item)
    if (!append) problems.push(`phantom: ${item} at ${index} was never appended`)
    if (append?.outcome === 'failed') {
      problems.push(`phantom: ${item} at ${index} was said not to be done`)
    }
  }
  for (const { item, outcome, index } of appends) {
    if (outcome !== 'acknowledged') continue
    const place = places.get(item)
    if (place === undefined) problems.push(`lost: ${item} was acknowledged at ${index}`)
    else if (place !== index) problems.push(`moved: ${item} was told ${index} and is at ${place}`)
  }
  return problems
}

function checkReads({ reads, final }: LogHistory): string[] {
  return reads.flatMap(({ from, items }) => {
    const wrong = items.findIndex((item, index) => item !== final[from + index])
    if (wrong < 0) return []
    const index = from + wrong
    return [`not a prefix: a read saw ${items[wrong]} at ${index}, where ${final[index]} is`]
  })
}

function checkStream({ name, from, events }: LogStream, final: readonly string[]): string[] {
  const problems: string[] = []
  let next = from
  for (const event of events) {
    if ('marker' in event) {
      if (event.index !== next) {
        problems.push(`${name}: ${event.marker} says ${event.index} after ${next}`)
      }
      if (event.marker === 'end' && next !== final.length) {
        problems.push(`${name}: ended at ${next} of ${final.length}`)
      }
      continue
    }
    if (event.index !== next) problems.push(`${name}: gap, ${event.index} where ${next} is next`)
    if (event.item !== final[event.index]) {
      problems.push(`${name}: not a prefix: ${event.item} at ${event.index}`)
    }
    next = event.index + 1
  }
  return problems
}

type Placed = {
  readonly what: string
  readonly start: number
  readonly end: number
  /** At least so many items are there when it ends, and at most `most` before it has begun. */
  readonly least: number
  readonly most: number
}

/** What ended before another began comes before it in the order. */
function checkTimes({ appends, reads, streams, final }: LogHistory): string[] {
  const places = new Map(final.map((item, index) => [item, index]))
  const placed: Placed[] = []
  for (const { item, start, end } of appends) {
    const index = places.get(item)
    if (index === undefined) continue
    placed.push({ what: `append ${item}`, start, end, least: index + 1, most: index })
  }
  for (const { start, end, from, items } of reads) {
    const length = from + items.length
    placed.push({ what: `read of ${length}`, start, end, least: length, most: length })
  }
  for (const { name, start, events } of streams) {
    for (const event of events) {
      // A delivery shows its item, and whatever is before it; what it does not show may be there.
      const least = 'marker' in event ? event.index : event.index + 1
      const end = event.time
      const most = 'marker' in event ? event.index : Number.POSITIVE_INFINITY
      placed.push({ what: `${name} at ${event.index}`, start, end, least, most })
    }
  }
  const starts = [...placed].sort((a, b) => a.start - b.start)
  const ends = [...placed].sort((a, b) => a.end - b.end)
  const problems: string[] = []
  let most: Placed | undefined
  let at = 0
  for (const each of starts) {
    for (let ended = ends[at]; ended && ended.end < each.start; ended = ends[++at]) {
      if (ended.least > (most?.least ?? 0)) most = ended
    }
    if (most && most.least > each.most) {
      problems.push(`stale or reordered: ${each.what} began after ${most.what} had ended`)
    }
  }
  return problems
}
