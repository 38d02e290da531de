/** The modules in which functions were defined. V8 knows the script of each function, and tells it to
 *  inspectors only; so this file inspects its own process. See rfc/24, rule 12.
 *  Invariant: no code of the program runs while the debugger is enabled, which would slow it down, and
 *  stop it at `debugger`. */

import { randomUUID } from 'node:crypto'
import { type Debugger, type Runtime, Session } from 'node:inspector'
import { isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'

/** A function or a class, whatever its parameters and its result. */
export type AnyFunction =
  | ((...parameters: never[]) => unknown)
  | (abstract new (
      ...parameters: never[]
    ) => unknown)

/** The number of functions that are looked up in one go, during which the event loop stands. */
const lookupMax = 64
/** The smallest number of functions of one text for which all sources are searched, which takes as long
 *  as to look up some hundreds. */
const alikeMin = 256

/** The paths of modules by function. A memo: the module of a function never changes. */
const modules = new WeakMap<AnyFunction, string>()
/** The urls of scripts by their ids. A memo, too; a script whose url is no name has none. */
const urls = new Map<string, string>()

/** Returns the path of the module in which each function was defined, in their order. Throws EINVAL
 *  (a function that no module defines: a built-in, a bound one, one made by `eval`). */
export async function definingModules(functions: readonly AnyFunction[]): Promise<string[]> {
  const slice = new LoopSlice()
  const unknown = [...new Set(functions)].filter((fn) => !modules.has(fn))
  if (unknown.length >= alikeMin) await lookUpAlike(unknown, slice)
  const left = unknown.filter((fn) => !modules.has(fn))
  for (let at = 0; at < left.length; at += lookupMax) {
    if (slice.over) await slice.turn()
    lookUp(left.slice(at, at + lookupMax))
  }
  return functions.map((fn) => modules.get(fn) ?? '')
}

/** Returns the source text of a function, even if it has another `toString`. */
export function textOf(fn: AnyFunction): string {
  return Function.prototype.toString.call(fn)
}

/** Looks up those of some functions of which many have one text, so that their modules are known when
 *  they are asked for. Never throws: who asks for them is told. */
export async function lookUpLoops(functions: readonly AnyFunction[]): Promise<void> {
  const unknown = [...new Set(functions)].filter((fn) => !modules.has(fn))
  if (unknown.length < alikeMin) return
  await lookUpAlike(unknown, new LoopSlice()).catch(() => {})
}

/** Looks up functions of one text together, as those are that a loop makes. The text of a function is a
 *  part of the source of its script: so all of them were defined in the one script that has it. */
async function lookUpAlike(functions: readonly AnyFunction[], slice: LoopSlice): Promise<void> {
  const groups = new Map<string, AnyFunction[]>()
  for (const fn of functions) {
    if (slice.over) await slice.turn()
    const text = textOf(fn)
    const group = groups.get(text)
    if (group) group.push(fn)
    else groups.set(text, [fn])
  }
  const large = [...groups].filter(([, group]) => group.length >= alikeMin)
  if (large.length === 0) return
  const scripts = scriptsOfProcess({ withSources: true })
  for (const [text, group] of large) {
    const having = new Set(scripts.filter(({ source }) => source.includes(text)).map(urlOf))
    const [first] = group
    // If several have it, each function is looked up by itself.
    if (having.size !== 1 || !first) continue
    lookUp([first])
    const path = modules.get(first) ?? ''
    for (const fn of group) {
      if (slice.over) await slice.turn()
      modules.set(fn, path)
    }
  }
}

function lookUp(functions: readonly AnyFunction[]): void {
  using inspector = new Inspector()
  const ids = inspector.scriptsOf(functions)
  // Enabling the debugger takes as long as telling all scripts does: some tens of ms.
  if (ids.some((id) => id !== undefined && !urls.has(id))) {
    const named = inspector.scripts().filter(({ url }) => url !== '')
    for (const { id, url } of named) urls.set(id, url)
  }
  for (const [index, fn] of functions.entries()) {
    const id = ids[index]
    modules.set(fn, modulePathOf(id === undefined ? undefined : (urls.get(id) ?? ''), fn))
  }
}

function scriptsOfProcess(options: { readonly withSources: boolean }): readonly Script[] {
  using inspector = new Inspector()
  return inspector.scripts(options)
}

function urlOf({ url }: Script): string {
  return url
}

/** Returns the path in the url of a script. Throws EINVAL where that names no file. */
function modulePathOf(url: string | undefined, fn: AnyFunction): string {
  const name = fn.name === '' ? 'a function without a name' : `the function ${fn.name}`
  if (url === undefined || url.startsWith('node:')) {
    throw invalid(
      `${name} is a built-in, bound, or a proxy: it has no module whose code could be told. ` +
        'Give a function of your own that calls it',
    )
  }
  // A query is a loader's own.
  if (url.startsWith('file:')) return fileURLToPath(url.replace(/[?#].*$/s, ''))
  if (isAbsolute(url)) return url
  throw invalid(
    `${name} was not defined in a file, but in ${url === '' ? 'a text for eval' : url}: ` +
      'no module tells its code. Define it in a module',
  )
}

/** A script, by which V8 means a source that it has compiled. */
type Script = { readonly id: string; readonly url: string; readonly source: string }
type Properties = Runtime.GetPropertiesReturnType

/** The view that V8 gives of this process from outside, until it is disposed of. Every answer is there
 *  when `post` returns. */
class Inspector implements Disposable {
  readonly #session = new Session()

  constructor() {
    this.#session.connect()
  }

  /** Frees what it held. */
  [Symbol.dispose](): void {
    this.#session.disconnect()
  }

  /** Returns the id of the script that defined each function; undefined for those that none did. */
  scriptsOf(functions: readonly AnyFunction[]): (string | undefined)[] {
    // A place where the inspector finds them, for this call only, which nobody can guess.
    const place = `tailrace-${randomUUID()}`
    Object.defineProperty(globalThis, place, { value: functions, configurable: true })
    try {
      const { result } = this.#propertiesOf(this.#evaluate(`globalThis['${place}']`))
      const items = new Map(result.map(({ name, value }) => [name, value]))
      return functions.map((_, index) => this.#scriptOf(items.get(String(index))))
    } finally {
      Reflect.deleteProperty(globalThis, place)
    }
  }

  /** Returns all scripts, with the sources of those that are not Node's if asked for. */
  scripts({ withSources = false } = {}): Script[] {
    const found: { readonly id: string; readonly url: string; source: string }[] = []
    this.#session.on('Debugger.scriptParsed', ({ params }) => {
      // The url may come from a comment of the script; the other name is its loader's.
      const name = 'embedderName' in params ? params.embedderName : undefined
      const url = typeof name === 'string' ? name : params.url
      found.push({ id: params.scriptId, url, source: '' })
    })
    this.#session.post('Debugger.enable')
    // No function of the program is defined in a script of Node.
    const own = withSources ? found.filter(({ url }) => !url.startsWith('node:')) : []
    for (const script of own) {
      const take = (_error: unknown, answer: Debugger.GetScriptSourceReturnType | undefined) => {
        script.source = answer?.scriptSource ?? ''
      }
      this.#session.post('Debugger.getScriptSource', { scriptId: script.id }, take)
    }
    this.#session.post('Debugger.disable')
    return found
  }

  #scriptOf(fn: Runtime.RemoteObject | undefined): string | undefined {
    const { internalProperties = [] } = this.#propertiesOf(fn)
    const place = internalProperties.find(({ name }) => name === '[[FunctionLocation]]')
    const location: unknown = place?.value?.value
    if (typeof location !== 'object' || location === null) return undefined
    return 'scriptId' in location ? String(location.scriptId) : undefined
  }

  #evaluate(expression: string): Runtime.RemoteObject | undefined {
    let found: Runtime.RemoteObject | undefined
    this.#session.post('Runtime.evaluate', { expression }, (_error, answer) => {
      found = answer?.result
    })
    return found
  }

  #propertiesOf(object: Runtime.RemoteObject | undefined): Properties {
    let found: Properties = { result: [] }
    const objectId = object?.objectId
    if (objectId === undefined) return found
    const asked = { objectId, ownProperties: true }
    const take = (_error: unknown, answer: Properties | undefined) => {
      found = answer ?? found
    }
    this.#session.post('Runtime.getProperties', asked, take)
    return found
  }
}
