/** Which Node can run us. Written in what Node 12 reads. See rfc/13, rule 24. */

/** As package.json says in `engines`. */
export const nodeMajorMin = 20

/** One line for a Node that is too old; undefined for one that is not. */
export function nodeComplaint(version: string): string | undefined {
  if (Number(version.split('.')[0]) >= nodeMajorMin) return undefined
  return `tailrace: EMISCONFIGURED: this is Node ${version}, and Node ${nodeMajorMin} or newer is needed: install it, or put it first in PATH`
}
