/** Completion of a command line: the words that may stand at its end, by the declarations of
 *  commands and by what a store holds. See rfc/13, rule 30.
 *  Invariant: no candidate has a character that a terminal acts on. One answer reads at most
 *  `candidatesMax` names. Where there are more, all candidates begin alike only as far as all names
 *  do, so that a shell which fills in the common beginning excludes no name. */

import { mainLayer } from '../api/cache.js'
import { jobsPageMax } from '../api/job.js'
import type { Store } from '../api/store.js'
import { defined } from '../base/shape.js'
import { type Command, type Completion, isVariadic, longFlag } from './command.js'
import { optionOf, type Standing, splitFlag, standingAfter } from './command-line.js'
import { isUnsafe, quotedWord } from './quote.js'

/** The number of names that one answer reads, at most. */
export const candidatesMax = 1_000

/** The code point that stands behind all others in the order of names. */
const lastCharacter = '\u{10ffff}'

export type Candidate = {
  readonly text: string
  /** One line for people; may be empty. */
  readonly summary: string
}

/** Candidates, or the kind of thing that the shell itself finds. */
export type Candidates =
  | { readonly kind: 'words'; readonly words: readonly Candidate[] }
  | { readonly kind: 'files' | 'directories' | 'commands' }

/** Opens the store that a command line names by its options; undefined where no server runs. */
type OpenStore = (given: Standing['given']) => Promise<Store | undefined>

/** Completes the last one of `words`, which may be empty. Throws what `openStore` and the store
 *  throw. */
export async function candidatesFor(
  commands: readonly Command[],
  words: readonly string[],
  openStore: OpenStore,
): Promise<Candidates> {
  const typed = words.at(-1) ?? ''
  const standing = standingAfter(commands, words.slice(0, -1))
  const { command, awaiting, count, isLiteral } = standing
  const complete = (what: Completion | undefined, text: string) =>
    completed(what, text, { standing, openStore })
  if (awaiting) return complete(awaiting.completes, typed)
  if (!isLiteral && typed.startsWith('-')) {
    const [flag, value] = splitFlag(typed)
    if (value === undefined) return beginning(typed, flagsOf(standing))
    const found = await complete(optionOf(standing.options, flag)?.completes, value)
    if (found.kind !== 'words') return found
    const words = found.words.map((word) => ({ ...word, text: `${flag}=${word.text}` }))
    return { kind: 'words', words }
  }
  const children = count > 0 || isLiteral ? [] : standing.children
  const names = children
    .filter(({ hidden }) => hidden !== true)
    .map(({ name, summary }) => ({ text: name, summary }))
  const named = beginning(typed, names)
  const found = await complete(completionAt(command, count), typed)
  if (found.kind !== 'words') return found
  return { kind: 'words', words: [...named.words, ...found.words] }
}

/** The completion of the argument with that index. What follows the name of a program is taken for
 *  files. */
function completionAt(command: Command | undefined, index: number): Completion | undefined {
  const parameters = Object.values(command?.parameters ?? {})
  const found = parameters[index]
  if (found) return found.completes
  const last = parameters.at(-1)
  if (!last || !isVariadic(last.form)) return undefined
  return last.completes === 'command' ? 'file' : last.completes
}

/** The options that may still be given, by their long flags. */
function flagsOf({ options, given }: Standing): Candidate[] {
  const offered = Object.entries(options)
    .filter(([name, { hidden, many }]) => hidden !== true && (many || !given.has(name)))
    .map(([, { flags, text }]) => ({ text: longFlag(flags), summary: text }))
  return [...offered, { text: '--help', summary: 'show the help' }]
}

function beginning(
  typed: string,
  words: readonly Candidate[],
): { readonly kind: 'words'; readonly words: readonly Candidate[] } {
  return {
    kind: 'words',
    words: words.filter(({ text }) => text.startsWith(typed) && !isUnsafe(text)),
  }
}

async function completed(
  what: Completion | undefined,
  typed: string,
  { standing, openStore }: { readonly standing: Standing; readonly openStore: OpenStore },
): Promise<Candidates> {
  if (what === undefined) return beginning(typed, [])
  if (what === 'file') return { kind: 'files' }
  if (what === 'directory') return { kind: 'directories' }
  if (what === 'command') return { kind: 'commands' }
  if (typeof what !== 'string') return beginning(typed, wordsOf(what, typed).map(alone))
  const store = await openStore(standing.given)
  return beginning(typed, store ? await stored(store, what, typed, standing) : [])
}

/** The words of a list; behind the last comma of `typed`, if there may be several. */
function wordsOf(what: Exclude<Completion, string>, typed: string): readonly string[] {
  if (!('anyOf' in what)) return what
  const before = typed.slice(0, typed.lastIndexOf(',') + 1)
  return what.anyOf.map((word) => `${before}${word}`)
}

async function stored(
  store: Store,
  what: 'key' | 'namespace' | 'job' | 'pin' | 'layer' | 'result',
  typed: string,
  { given }: Standing,
): Promise<Candidate[]> {
  switch (what) {
    case 'key': {
      const namespace = given.get('namespace')
      return keysOf(store, typed, typeof namespace === 'string' ? { namespace } : {})
    }
    case 'namespace':
      return (await store.namespaces.list()).map(({ name }) => alone(name))
    case 'layer': {
      const { layerOf } = await import('../cache/layer.js')
      const names = (await store.namespaces.list()).map(({ name }) => name)
      return names.flatMap((name) => layerOf(name) ?? []).map(alone)
    }
    case 'result': {
      const { namespaceOf } = await import('../cache/layer.js')
      const { recordKey } = await import('../cache/record.js')
      const layer = given.get('layer')
      const namespace = namespaceOf(typeof layer === 'string' ? layer : mainLayer)
      const found = await keysOf(store, recordKey(typed), { namespace })
      return found.map(({ text }) => alone(text.slice(recordKey('').length)))
    }
    case 'pin':
      return (await store.history.pins()).map(({ name }) => alone(name))
    case 'job': {
      const { jobs } = await store.jobs.list({ limit: Math.min(jobsPageMax, candidatesMax) })
      return jobs.map(({ id, state, command }) => ({
        text: id,
        summary: `${state}: ${command.map(quotedWord).join(' ')}`,
      }))
    }
    default:
      return what satisfies never
  }
}

/** The keys that begin with `typed`, in order; those of directories end with a slash. */
async function keysOf(
  store: Store,
  typed: string,
  scope: { readonly namespace?: string },
): Promise<Candidate[]> {
  const cut = typed.lastIndexOf('/') + 1
  const directory = typed.slice(0, cut)
  const start = typed.slice(cut)
  const list = async (after: string, limit: number) => {
    const asked = { ...scope, limit, ...defined({ after: after || undefined }) }
    const page = await store.list(directory || '/', asked)
    const found = page.entries.filter(({ name }) => name.startsWith(start))
    return { found, more: page.more && found.length === page.entries.length }
  }
  // A page begins after a name, so the name that was typed whole is looked up by itself.
  const exact = start === '' ? undefined : await store.stat(typed, { ...scope, nofollow: true })
  const page = await list(start, candidatesMax)
  const entries = [...(exact ? [{ name: start, type: exact.type }] : []), ...page.found]
  // Each further name stands behind all names with the common beginning so far, so the common
  // beginning gets shorter.
  for (let { more } = page; more; ) {
    const common = commonStart(entries[0]?.name ?? '', entries.at(-1)?.name ?? '')
    if (common === start) break
    const later = await list(`${common}${lastCharacter}`, 1)
    entries.push(...later.found)
    more = later.found.length > 0
  }
  return entries.map(({ name, type }) => alone(`${directory}${name}${type === 'dir' ? '/' : ''}`))
}

/** The longest beginning that both have in common, in whole characters. */
function commonStart(one: string, other: string): string {
  const others = [...other]
  const characters = [...one]
  const end = characters.findIndex((character, at) => character !== others[at])
  return characters.slice(0, end < 0 ? undefined : end).join('')
}

function alone(text: string): Candidate {
  return { text, summary: '' }
}
