/** Roots that a command names: by seq, by ref, or by the first digits of a ref; and pages that are
 *  read at one root. See rfc/13, rule 25, and rfc/10, rule 20.
 *  Invariant: a short ref stands for the one retained or pinned root of its namespace that begins
 *  so, or it is an error. No page is of another root than the one before it without a line on
 *  stderr. */

import { pageMax } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { defined } from '../base/shape.js'
import { isBlobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import { type CommandContext, UsageError, type ValueKind } from './command.js'
import { integer, timeBefore } from './units.js'

export type NamedRoot =
  | { readonly type: 'seq'; readonly seq: number }
  | { readonly type: 'ref'; readonly ref: string }
  /** The root that was the newest one at a time, ms since 1970. */
  | { readonly type: 'time'; readonly time: number }
  /** The beginning of a ref: `blake3-` and at least eight digits. */
  | { readonly type: 'short'; readonly start: string }

/** A seq, the ref of a root, whole or its first digits, or a time. */
export const root: ValueKind<NamedRoot> = {
  parse: (text, what) => {
    const named = namedRoot(text, what)
    if (named) return named
    if (/^\d+(\.\d+)?(ms|[smhdw])$|^\d{4}-\d\d-\d\d/.test(text)) {
      return { type: 'time', time: timeBefore.parse(text, what, false) }
    }
    throw new UsageError(
      `${what} takes a seq, the ref of a root or a time (10m, 2026-01-31T12:00:00), not "${text}"; \`tailrace pins\` shows those of pins`,
    )
  },
}

/** A seq, a ref, or the name of a pin. */
export const rootOrPin: ValueKind<NamedRoot | { readonly type: 'pin'; readonly pin: string }> = {
  parse: (text) => namedRoot(text, 'a seq') ?? { type: 'pin', pin: text },
  completes: 'pin',
}

function namedRoot(text: string, what: string): NamedRoot | undefined {
  if (isBlobref(text)) return { type: 'ref', ref: text }
  if (/^\d+$/.test(text)) return { type: 'seq', seq: integer().parse(text, what, false) }
  return /^blake3-[0-9a-f]{8,}$/.test(text) ? { type: 'short', start: text } : undefined
}

/** Returns the root as the store takes it. Only a short ref and a time ask the store. Throws ENOENT,
 *  EINVAL where several roots begin so, ECOMPACTED where none of the time is retained. */
export async function wholeRoot(
  store: Store,
  named: NamedRoot,
  namespace: string | undefined,
): Promise<number | string> {
  switch (named.type) {
    case 'seq':
      return named.seq
    case 'ref':
      return named.ref
    case 'time':
      return (await store.root({ time: named.time, ...defined({ namespace }) })).seq
    case 'short':
      return wholeRef(store, named.start, namespace)
    default:
      return named satisfies never
  }
}

/** Returns `{ at }` for a read, or an empty object where no root is named. Throws what `wholeRoot`
 *  throws. */
export async function atRoot(
  store: Store,
  named: NamedRoot | undefined,
  namespace: string | undefined,
): Promise<{ readonly at?: number | string }> {
  return named ? { at: await wholeRoot(store, named, namespace) } : {}
}

async function wholeRef(store: Store, start: string, namespace: string = primary): Promise<string> {
  const refs = new Set<string>()
  for (const pin of await store.history.pins()) {
    if (pin.namespace === namespace && pin.ref.startsWith(start)) refs.add(pin.ref)
  }
  for (let before: number | undefined; ; ) {
    const bound = before === undefined ? {} : { before }
    const page = await store.history.roots({ namespace, newest: true, limit: pageMax, ...bound })
    for (const { ref } of page.roots) if (ref.startsWith(start)) refs.add(ref)
    before = page.roots.at(-1)?.seq
    if (!page.more || before === undefined) break
  }
  const [ref, ...others] = refs
  if (ref === undefined) {
    throw new TailraceError('ENOENT', `no retained root and no pin of ${namespace} begins ${start}`)
  }
  if (others.length === 0) return ref
  throw new TailraceError(
    'EINVAL',
    `${refs.size} roots of ${namespace} begin ${start}: give more of it`,
  )
}

/** Reads the pages of one answer. Where their root is dropped before the last page, the rest is
 *  read at the newest root, and a line on stderr says so. */
export class RootPages {
  readonly #stderr: CommandContext['stderr']
  readonly #given: boolean
  #seq: number
  readonly #later: number[] = []

  /** `seq` is that of the root of the first page. `given` is true if the caller named that root,
   *  and wants no other. */
  constructor(
    { stderr }: Pick<CommandContext, 'stderr'>,
    { seq, given }: { readonly seq: number; readonly given: boolean },
  ) {
    this.#stderr = stderr
    this.#seq = seq
    this.#given = given
  }

  /** The later roots at which the pages went on, in order, for JSON; empty where there is one root
   *  only. */
  get later(): { readonly later?: readonly number[] } {
    return this.#later.length > 0 ? { later: this.#later } : {}
  }

  /** Reads a page at the root of the page before it, or at the newest root where that was dropped.
   *  Throws ECOMPACTED where the root was given. */
  async next<Page>(
    read: (at: number | undefined) => Promise<Page>,
    seqOf: (page: Page) => number,
  ): Promise<Page> {
    try {
      return await read(this.#seq)
    } catch (error) {
      if (this.#given || !isCode(error, 'ECOMPACTED')) throw error
    }
    const page = await read(undefined)
    const seq = seqOf(page)
    this.#later.push(seq)
    const gone = `the root of seq ${this.#seq} is no more retained`
    await this.#stderr.line(`tailrace: ${gone}: what follows is of seq ${seq}`)
    this.#seq = seq
    return page
  }
}
