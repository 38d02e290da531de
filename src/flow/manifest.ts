/** The package.json of a package, as far as it says which file an import means: Node's "exports" and
 *  "imports". See rfc/24, rule 12, and "Modules: Packages" in the documentation of Node. Pure.
 *  Invariant: what any loader takes is among the targets. Which conditions hold is a loader's secret,
 *  so that each of them counts, but for `types`, which names nothing that runs. */

import { invalid } from '../base/shape.js'
import { reasonOf } from '../error.js'

/** The fields of a package.json. A field of another kind than it should be counts as left out. */
export type Manifest = {
  /** The directory in which it stands. */
  readonly directory: string
  readonly name: string | undefined
  readonly version: string | undefined
  readonly main: string | undefined
  readonly exports: unknown
  readonly imports: unknown
}

/** Returns what a package.json says. Throws EINVAL if it is no object of JSON. */
export function parseManifest(directory: string, json: string): Manifest {
  let fields: unknown
  try {
    fields = JSON.parse(json.replace(/^\ufeff/, ''))
  } catch (error) {
    throw invalid(`${directory}/package.json is no JSON: ${reasonOf(error)}`)
  }
  if (!isObject(fields)) throw invalid(`${directory}/package.json must be an object`)
  const { name, version, main, exports, imports } = fields
  return {
    ...{ directory, exports, imports },
    name: textOf(name),
    version: textOf(version),
    main: textOf(main),
  }
}

/** Returns the targets that "exports" has for a subpath of its package, `.` or `./PATH`; none if it
 *  hides that one. */
export function exportTargets(exports: unknown, subpath: string): readonly string[] {
  const isMap = isObject(exports) && Object.keys(exports).some((key) => key.startsWith('.'))
  const targets = targetsOf(isMap ? exports : { '.': exports }, subpath)
  return targets.filter((target) => target.startsWith('./'))
}

/** Returns the targets that "imports" has for a specifier that begins with `#`; none if it has not
 *  that name. */
export function importTargets(imports: unknown, specifier: string): readonly string[] {
  return targetsOf(imports, specifier)
}

/** Returns the targets of a key, or else of the most special pattern with one `*` that fits. */
function targetsOf(map: unknown, key: string): readonly string[] {
  if (!isObject(map)) return []
  if (Object.hasOwn(map, key) && !key.includes('*')) return flat(map[key])
  const best = Object.keys(map)
    .map((pattern) => ({ pattern, halves: pattern.split('*') }))
    .filter(({ halves }) => halves.length === 2 && fits(key, halves))
    .sort((a, b) => startOf(b).length - startOf(a).length || b.pattern.length - a.pattern.length)[0]
  if (!best) return []
  const [start = '', end = ''] = best.halves
  const star = key.slice(start.length, key.length - end.length)
  return flat(map[best.pattern]).map((target) => target.replaceAll('*', star))
}

function fits(key: string, [start = '', end = '']: readonly string[]): boolean {
  return key.startsWith(start) && key.endsWith(end) && key.length > start.length + end.length
}

function startOf({ halves }: { readonly halves: readonly string[] }): string {
  return halves[0] ?? ''
}

/** Returns the texts in a target, under whatever conditions they stand. */
function flat(target: unknown): readonly string[] {
  if (typeof target === 'string') return [target]
  if (Array.isArray(target)) return target.flatMap(flat)
  if (!isObject(target)) return []
  return Object.entries(target).flatMap(([condition, inner]) =>
    /^types(@|$)/.test(condition) ? [] : flat(inner),
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
