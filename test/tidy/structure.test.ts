/** The structure of src may get simpler only: bounds of what `structure.ts` measures. Whoever makes it simpler
 *  lowers the bound. */

import { test } from 'vitest'
import { doorsOfRooms, longestChain, namesDeclaredTwice } from './structure.js'
import { nothing } from './tree.js'

/** Files of the longest chain of imports. */
const chainMax = 26
const runtimeChainMax = 23

/** Files of a room that other rooms import. */
const doorsMax = 4
/** Rooms that have more doors. */
const manyDoors: Readonly<Record<string, number>> = {
  base: 24,
  blob: 6,
  tree: 12,
  api: 18,
  present: 10,
  transaction: 5,
  past: 8,
  kvs: 8,
  draft: 5,
  export: 5,
  job: 5,
  flow: 5,
  server: 5,
  wire: 19,
}

test('an exported type has a name of its own', () => {
  nothing(
    [...namesDeclaredTwice()].map(
      ([name, paths]) => `${name} is declared in ${paths.join(' and ')}: name each by what it is`,
    ),
  )
})

test('no chain of imports is longer than the bound, types included', () => {
  nothing([
    ...tooLong(longestChain('types included'), chainMax),
    ...tooLong(longestChain('runtime'), runtimeChainMax),
  ])
})

test('rooms are entered through few files', () => {
  nothing([
    ...[...doorsOfRooms()].flatMap(([room, doors]) => {
      const bound = manyDoors[room] ?? doorsMax
      if (doors.length <= bound) return []
      return [`${room} has ${doors.length} doors, ${bound} are enough: ${doors.join(', ')}`]
    }),
    ...Object.entries(manyDoors)
      .filter(([room, bound]) => bound > Math.max(doorsMax, doorsOfRooms().get(room)?.length ?? 0))
      .map(([room]) => `${room} has fewer doors than manyDoors says: lower the bound`),
  ])
})

function tooLong(chain: readonly string[], bound: number): string[] {
  if (chain.length <= bound) return []
  return [`${chain.length} files, ${bound} are enough: ${chain.join(' → ')}`]
}
