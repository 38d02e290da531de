/** Walks over the imports: circles, and what a browser would be sent. */

import { type File, files, packageOf, sources, targetOf } from './tree.js'

/** What a browser's bundle starts from, and what may not be reached from there at runtime. */
const browserEntries = /^src\/(client\/web|wire\/[^/]+)\.ts$/
const browserFiles = new Set(['src/blob/hash.ts'])
const browserPackages = new Set(['blake3-wasm', 'ws', 'lmdb', 'fastify', '@fastify/websocket'])

/** One path for each circle that a walk from the first file finds. */
export function cycles(): string[][] {
  const found: string[][] = []
  const done = new Set<string>()
  const visit = (file: File, above: readonly string[]): void => {
    const start = above.indexOf(file.path)
    if (start >= 0) found.push([...above.slice(start), file.path])
    if (start >= 0 || done.has(file.path)) return
    for (const item of file.imports) {
      const target = targetOf(file, item)
      if (target) visit(target, [...above, file.path])
    }
    done.add(file.path)
  }
  for (const file of files) visit(file, [])
  return found
}

/** A chain of runtime imports for each thing that a browser does not have. */
export function browserLeaks(): string[] {
  return sources
    .filter(({ path }) => browserEntries.test(path))
    .flatMap((file) => leaksOf(file, [file.path], new Set()))
}

function leaksOf(file: File, chain: readonly string[], seen: Set<string>): string[] {
  if (seen.has(file.path)) return []
  seen.add(file.path)
  return file.imports.flatMap((item) => {
    if (item.typeOnly) return []
    const target = targetOf(file, item)
    if (target && !browserFiles.has(target.path)) {
      return leaksOf(target, [...chain, target.path], seen)
    }
    const bad =
      target || item.from.startsWith('node:') || browserPackages.has(packageOf(item) ?? '')
    return bad ? [`${[...chain, item.from].join(' → ')}: a browser has no such thing`] : []
  })
}
