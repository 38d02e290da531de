/** Roots by the first digits of their refs, as the tables show them. See rfc/13, rule 25.
 *  Invariant: a short ref stands for the one retained or pinned root of its namespace that begins so, or it is an
 *  error; a whole ref asks nobody. */

import { pageMax } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { Store } from '../api/store.js'
import { TailraceError } from '../error.js'
import { type Invocation, isShortRef, rootOptions } from './invocation.js'
import { withStore } from './session.js'

/** Expands the short refs of an invocation. Throws ENOENT, EINVAL (several roots begin so). */
export async function withWholeRefs(invocation: Invocation): Promise<Invocation> {
  const { options } = invocation
  const namespace =
    options.text('fromNamespace') ?? options.text('from') ?? options.text('namespace')
  return withStore(invocation, async (store) => {
    let whole = options
    for (const name of rootOptions) {
      const text = options.text(name)
      if (text === undefined || !isShortRef(text)) continue
      whole = whole.with(name, await wholeRef(store, text, namespace))
    }
    return { ...invocation, options: whole }
  })
}

/** REQUIRES: isShortRef(text). Throws as `withWholeRefs`. */
export async function wholeRef(
  store: Store,
  text: string,
  namespace: string = primary,
): Promise<string> {
  const refs = new Set<string>()
  for (const pin of await store.history.pins()) {
    if (pin.namespace === namespace && pin.ref.startsWith(text)) refs.add(pin.ref)
  }
  for (let before: number | undefined; ; ) {
    const bound = before === undefined ? {} : { before }
    const page = await store.history.roots({ namespace, newest: true, limit: pageMax, ...bound })
    for (const { ref } of page.roots) if (ref.startsWith(text)) refs.add(ref)
    before = page.roots.at(-1)?.seq
    if (!page.more || before === undefined) break
  }
  const [ref, ...others] = refs
  if (ref === undefined) {
    throw new TailraceError('ENOENT', `no retained root and no pin of ${namespace} begins ${text}`)
  }
  if (others.length === 0) return ref
  throw new TailraceError(
    'EINVAL',
    `${refs.size} roots of ${namespace} begin ${text}: give more of it`,
  )
}
