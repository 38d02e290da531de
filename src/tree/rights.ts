/** Rights on keys: what a caller may do with a key of a namespace. See rfc/28, rules 8 and 9.
 *  Invariant: lookups that are given an `Admit` call it with each key that a link leads to, before
 *  anything is read there. */

/** A right on a key. */
export type KeyRight = 'read' | 'append' | 'write' | 'watch' | 'lease'

/** The rights of one caller. */
export interface Rights {
  /** Names the caller: callers with equal ids have equal rights. */
  readonly id: string
  /** Throws EPERM if the caller does not have the right on a key that it names. */
  check(right: KeyRight, namespace: string, key: string): void
  /** Throws EPERM if the caller does not have the right on a key that a link leads to. The message does
   *  not tell the key, since the caller may not be able to read the link. */
  checkLinked(right: KeyRight, namespace: string, key: string): void
}

/** Throws EPERM for a key that the caller may not reach. */
export type Admit = (namespace: string, key: string) => void

/** Makes the check of one right on keys that links lead to; undefined if there is nothing to check. */
export function admitOf(rights: Rights | undefined, right: KeyRight): Admit | undefined {
  return rights && ((namespace, key) => rights.checkLinked(right, namespace, key))
}
