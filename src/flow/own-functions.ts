/** Functions of targets that are this package's own: a version names their code, since no module of a
 *  program defines them. See rfc/24, rules 13 and 34. */

/** The versions by functions. Each is set once, by the module of its function. */
const versions = new WeakMap<object, string>()

/** Names the code of a function of this package. */
export function setOwnVersion(fn: object, version: string): void {
  versions.set(fn, version)
}

/** Returns the version of a function of this package; undefined for any other. */
export function ownVersionOf(fn: object): string | undefined {
  return versions.get(fn)
}
