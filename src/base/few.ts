/** A set that mostly has none or one: then it takes no memory of its own. Pure, but for a `Set` that
 *  it grows into, which belongs to the one who holds it.
 *  Invariant: what is added is no `Set`, and is there once. */

/** Nothing, one, or a set. */
export type Few<T> = T | Set<T> | undefined

/** Returns the set with one more. The one before is not used any more. */
export function withOne<T extends object>(few: Few<T>, one: T): Few<T> {
  if (few === undefined) return one
  if (few instanceof Set) return few.add(one)
  return few === one ? few : new Set([few, one])
}

/** Returns the set without one. The one before is not used any more. */
export function without<T extends object>(few: Few<T>, one: T): Few<T> {
  if (few === one) return undefined
  if (few instanceof Set) few.delete(one)
  return few
}

/** Returns what is in it, in the order in which it was added. What is added or taken away meanwhile
 *  counts if there were several. */
export function each<T extends object>(few: Few<T>): Iterable<T> {
  if (few === undefined) return none
  return few instanceof Set ? few : [few]
}

const none: readonly never[] = []

/** Adds one to the set at an id of an index. */
export function addTo<T extends object>(index: Map<string, Few<T>>, id: string, one: T): void {
  index.set(id, withOne(index.get(id), one))
}

/** Takes one out of the set at an id of an index, which then keeps no empty set. */
export function dropFrom<T extends object>(index: Map<string, Few<T>>, id: string, one: T): void {
  const rest = without(index.get(id), one)
  if (rest === undefined || (rest instanceof Set && rest.size === 0)) index.delete(id)
  else index.set(id, rest)
}
