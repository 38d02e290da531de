/** Measures of the structure of src: how long its chains of imports are, and through how many files its
 *  rooms are entered. */

import { type File, sources, targetOf } from './tree.js'

type Reach = 'types included' | 'runtime'

/** The longest chain of imports, from the file that nobody below needs to the last one. `runtime`
 *  leaves out imports of types only. There are no circles: another rule forbids them. */
export function longestChain(reach: Reach): readonly string[] {
  const known = new Map<File, readonly string[]>()
  const chainOf = (file: File): readonly string[] => {
    const done = known.get(file)
    if (done) return done
    const below = file.imports
      .filter(({ typeOnly }) => reach === 'types included' || !typeOnly)
      .flatMap((item) => targetOf(file, item) ?? [])
      .map(chainOf)
    const chain = [file.path, ...longest(below)]
    known.set(file, chain)
    return chain
  }
  return longest(sources.map(chainOf))
}

/** The doors of each room: its files that another room imports. */
export function doorsOfRooms(): ReadonlyMap<string, readonly string[]> {
  const doors = new Map<string, Set<string>>()
  for (const file of sources) {
    for (const item of file.imports) {
      const target = targetOf(file, item)
      if (!target || roomOf(target) === roomOf(file)) continue
      const room = roomOf(target)
      doors.set(room, (doors.get(room) ?? new Set()).add(target.path))
    }
  }
  return new Map([...doors].map(([room, paths]) => [room, [...paths].sort()]))
}

/** The exported types, interfaces and classes whose names are declared in more than one file, with these files. */
export function namesDeclaredTwice(): ReadonlyMap<string, readonly string[]> {
  const declared = new Map<string, string[]>()
  for (const { path, code } of sources) {
    for (const [, name = ''] of code.matchAll(
      /^export (?:declare |abstract )*(?:type|interface|class) (\w+)/gm,
    )) {
      const paths = declared.get(name) ?? []
      if (!paths.includes(path)) declared.set(name, [...paths, path])
    }
  }
  return new Map([...declared].filter(([, paths]) => paths.length > 1))
}

/** `src/kvs/kvs.ts` is of `kvs`, `src/open.ts` of `open`. */
export function roomOf({ path }: Pick<File, 'path'>): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '')
}

function longest(chains: readonly (readonly string[])[]): readonly string[] {
  return chains.reduce((best, chain) => (chain.length > best.length ? chain : best), [])
}
