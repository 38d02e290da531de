/** The versions of Node that can run the program. This file is written in what Node 12 can read.
 *  See rfc/13, rule 24. */

/** The oldest major version of Node, the same as in `engines` of package.json. */
export const nodeMajorMin = 20

/** Returns one line of complaint for a Node that is too old; undefined for others. */
export function nodeComplaint(version: string): string | undefined {
  if (Number(version.split('.')[0]) >= nodeMajorMin) return undefined
  return `tailrace: EMISCONFIGURED: this is Node ${version}, and Node ${nodeMajorMin} or newer is needed: install it, or put it first in PATH`
}
