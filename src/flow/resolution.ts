/** The way from an import to what it leads to: files of the program, or a package that its version
 *  names. See rfc/24, rule 12.
 *  Invariant: the file that a loader takes (of Node, tsx or a bundler) is among those that are found,
 *  as long as it follows the rules of one of them. All paths are real paths. What was found once is
 *  not looked for again. */

import { readFileSync, realpathSync, statSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { basename, dirname, extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { invalid } from '../base/shape.js'
import { reasonOf } from '../error.js'
import { exportTargets, importTargets, type Manifest, parseManifest } from './manifest.js'

/** A file of the program, by its real path. */
export type LocalFile = { readonly type: 'file'; readonly path: string }
/** An installed package. `version` is null if it is not there. */
export type InstalledPackage = {
  readonly type: 'package'
  readonly name: string
  readonly version: string | null
}
/** A part of the code of a module, to which an import leads. */
export type CodePart = LocalFile | InstalledPackage

/** The endings of files that stand for one with the ending of its JavaScript. */
const twins: ReadonlyMap<string, readonly string[]> = new Map([
  ['.js', ['.ts', '.tsx', '.jsx']],
  ['.jsx', ['.tsx', '.ts', '.js']],
  ['.mjs', ['.mts']],
  ['.cjs', ['.cts']],
])
/** The endings that a specifier may leave out where its loader allows that. */
const endings = '.ts .tsx .mts .cts .js .jsx .mjs .cjs .json .node'.split(' ')
/** The folder of installed packages. */
const nodeModules = 'node_modules'

/** Finds what imports lead to. Mutable: it remembers; owned by the reader of one run. */
export class Resolution {
  readonly #parts = new Map<string, readonly CodePart[]>()
  readonly #manifests = new Map<string, Manifest | undefined>()
  readonly #scopes = new Map<string, Manifest | undefined>()
  readonly #installed = new Map<string, string | undefined>()

  /** Returns what an import of the file `from` leads to: nothing for a module of Node and for a `data:`
   *  URL, a package without a version for the name of one that is not installed; undefined if it
   *  leads nowhere. REQUIRES: `from` is a real path. Throws EINVAL (a package.json that cannot be
   *  read). */
  resolve(specifier: string, from: string): readonly CodePart[] | undefined {
    if (isBuiltin(specifier) || /^(node|data):/.test(specifier)) return []
    if (/^(\.{0,2}\/|\.{1,2}$|file:)/.test(specifier)) {
      const path = pathIn(specifier, from)
      return path === undefined ? undefined : some(this.#filesAt(path))
    }
    if (specifier.startsWith('#')) {
      const scope = this.scopeOf(dirname(from))
      return scope && this.#follow(importTargets(scope.imports, specifier), scope)
    }
    return this.#package(specifier, from)
  }

  /** Returns the package.json of the nearest directory, from `directory` upwards, that has one. */
  scopeOf(directory: string): Manifest | undefined {
    const known = this.#scopes.get(directory)
    if (known || this.#scopes.has(directory)) return known
    const above = dirname(directory)
    const isTop = above === directory || basename(directory) === nodeModules
    const found = isTop ? undefined : (this.#manifestIn(directory) ?? this.scopeOf(above))
    this.#scopes.set(directory, found)
    return found
  }

  /** Returns what a file counts as: itself, or the installed package that it belongs to. REQUIRES:
   *  `path` is a real path. */
  partOf(path: string): CodePart {
    const [, directory, name] = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(path) ?? []
    if (directory === undefined || name === undefined) return { type: 'file', path }
    return this.#packageIn(directory, name) ?? { type: 'file', path }
  }

  /** Returns a package that its version names; undefined for one that has none, and for one that is
   *  worked on, as those of a workspace are: their version stays while their files change. */
  #packageIn(directory: string, name: string): InstalledPackage | undefined {
    if (!directory.split('/').includes(nodeModules)) return undefined
    const version = this.#manifestIn(directory)?.version
    return version === undefined ? undefined : { type: 'package', name, version }
  }

  #package(specifier: string, from: string): readonly CodePart[] | undefined {
    const [, name, rest] = /^((?:@[^/@\s:]+\/)?[^/@\s:.~][^/@\s:]*)(\/.*)?$/s.exec(specifier) ?? []
    if (name === undefined) return undefined
    const subpath = `.${rest ?? ''}`
    const scope = this.scopeOf(dirname(from))
    if (scope?.name === name && scope.exports !== undefined) return this.#filesIn(subpath, scope)
    const directory = this.#directoryOf(name, dirname(from))
    if (directory === undefined) return [{ type: 'package', name, version: null }]
    const installed = this.#packageIn(directory, name)
    if (installed) return [installed]
    return this.#filesIn(subpath, this.#manifestIn(directory) ?? parseManifest(directory, '{}'))
  }

  /** Returns the files of a subpath of a package that is followed. */
  #filesIn(subpath: string, manifest: Manifest): readonly CodePart[] | undefined {
    const { directory, exports } = manifest
    if (exports !== undefined && exports !== null) {
      return this.#follow(exportTargets(exports, subpath), manifest)
    }
    if (subpath === '.') return some(this.#filesOf(directory))
    return this.resolve(subpath, join(directory, 'package.json'))
  }

  /** Returns what the targets of a package.json lead to; undefined if none leads anywhere. */
  #follow(targets: readonly string[], manifest: Manifest): readonly CodePart[] | undefined {
    const from = join(manifest.directory, 'package.json')
    const found = [...new Set(targets)].flatMap((target) => {
      const parts = target.startsWith('#') ? undefined : this.resolve(target, from)
      return parts ? [parts] : []
    })
    // The target of another platform may be a package that is not installed on this one.
    const there = found.filter((parts) => parts.every(isThere))
    return found.length === 0 ? undefined : (there.length > 0 ? there : found).flat()
  }

  /** Returns the real path of the nearest directory in which a package is installed. */
  #directoryOf(name: string, from: string): string | undefined {
    const here = join(from, nodeModules, name)
    const known = this.#installed.get(here)
    if (known !== undefined || this.#installed.has(here)) return known
    const above = dirname(from)
    const next = () => (above === from ? undefined : this.#directoryOf(name, above))
    const found = isDirectory(here) ? realpathSync.native(here) : next()
    this.#installed.set(here, found)
    return found
  }

  /** Returns the files that a path may stand for: itself and its twins, or else those with an ending
   *  more, or else those that stand for a directory. */
  #filesAt(path: string): readonly CodePart[] {
    const known = this.#parts.get(path)
    if (known) return known
    this.#parts.set(path, []) // for a circle of directories
    const ending = extname(path)
    const stem = path.slice(0, path.length - ending.length)
    const names = [path, ...(twins.get(ending) ?? []).map((twin) => stem + twin)]
    const parts =
      this.#present(names) ??
      this.#present(endings.map((end) => path + end)) ??
      (isDirectory(path) ? this.#filesOf(path) : [])
    this.#parts.set(path, parts)
    return parts
  }

  /** Returns the files that stand for a directory: "main" of its package.json, and its index. */
  #filesOf(directory: string): readonly CodePart[] {
    const { main } = this.#manifestIn(directory) ?? {}
    return [
      ...(main === undefined ? [] : this.#filesAt(join(directory, main))),
      ...(this.#present(endings.map((end) => join(directory, `index${end}`))) ?? []),
    ]
  }

  /** Returns the parts of the files that are there; undefined if none is. */
  #present(paths: readonly string[]): readonly CodePart[] | undefined {
    return some(paths.filter(isFile).map((path) => this.partOf(realpathSync.native(path))))
  }

  #manifestIn(directory: string): Manifest | undefined {
    const known = this.#manifests.get(directory)
    if (known || this.#manifests.has(directory)) return known
    const path = join(directory, 'package.json')
    const found = isFile(path) ? parseManifest(directory, textIn(path)) : undefined
    this.#manifests.set(directory, found)
    return found
  }
}

/** True unless it is a package that is not installed. */
export function isThere(part: CodePart): boolean {
  return part.type === 'file' || part.version !== null
}

/** Returns the path that a specifier names from a file; undefined where it is none. */
function pathIn(specifier: string, from: string): string | undefined {
  try {
    return fileURLToPath(new URL(specifier, pathToFileURL(from)))
  } catch {
    // A malformed URL, or one with an encoded slash.
    return undefined
  }
}

function some(parts: readonly CodePart[]): readonly CodePart[] | undefined {
  return parts.length > 0 ? parts : undefined
}

function textIn(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw invalid(`${path} cannot be read: ${reasonOf(error)}`)
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
