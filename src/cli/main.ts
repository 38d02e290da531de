#!/usr/bin/env -S node --max-semi-space-size=8
/** The file that is run as `tailrace`: looks at the version of Node before anything is loaded that
 *  an old one cannot read, then runs the command. See rfc/13, rule 24.
 *  Invariant: what this file imports, and itself, old versions can read: Node 12.17 and later. */

import { nodeComplaint } from './node-version.js'

const complaint = nodeComplaint(process.versions.node)
if (complaint === undefined)
  void import('./process.js') // it ends the process itself
else {
  console.error(complaint)
  process.exitCode = 1
}
