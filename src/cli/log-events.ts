/** The appends of a key for who reads on though a trim, or the cap of the log, dropped some before they were
 *  read: with a line on stderr that says which. See rfc/7, rule 17, and rfc/6, rule 48.
 *  Invariant: nothing is left out without that line; only a watch that has begun goes on, so that who asks for
 *  what is gone is told so. */

import type { Store } from '../api/store.js'
import type { Position, WatchEvent, WatchOptions } from '../api/watch.js'
import { isCode } from '../error.js'
import { position } from '../wire/frames.js'
import { parse } from '../wire/schema.js'
import type { Invocation } from './invocation.js'

/** Watches in a row that were overtaken before they gave anything. */
const overtakenMax = 16

/** Throws what a watch throws; ECOMPACTED where it did not begin, or is overtaken again and again. */
export async function* logEvents(
  { stderr }: Invocation,
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
        // One that goes on is live anew, which its reader knows.
        if (event.type === 'live' && live) continue
        live ||= event.type === 'live'
        if (event.type === 'append') next = event.index + 1
        else if ('position' in event) next ??= event.position?.index
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
