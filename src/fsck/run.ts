/** Checks an engine from beginning to end, and repairs it if asked. See rfc/15. */

import { type CheckReport, type Finding, findingsMax } from '../api/check.js'
import type { Environment } from '../base/environment.js'
import { Content } from '../content/content.js'
import type { Engine } from '../engine/engine.js'
import type { TailraceError } from '../error.js'
import { Check, type CheckOptions } from './fsck.js'
import { repair } from './repair.js'

/** The size of the cache of blobs, in bytes. Most blobs are asked for once. */
const checkCacheSize = 4 * 1024 * 1024

/** Checks an engine, and repairs it with `repair`. REQUIRES: nobody commits to the engine
 *  meanwhile. Throws ECANCELED, and what `repair` throws. */
export async function checkEngine(
  engine: Engine,
  options: CheckOptions & { readonly repair: boolean; readonly environment: Environment },
): Promise<CheckReport> {
  const { environment } = options
  const content = new Content(engine, { cacheSize: checkCacheSize })
  // A repair must know all damage, so its check has no limit.
  const bound = options.repair ? {} : { findingsMax }
  const check = new Check(engine, content, environment, { ...options, ...bound })
  await check.run()
  const repaired = options.repair ? await repair(engine, environment, check) : undefined
  const namespaces = (await engine.roots()).length
  return {
    clean: check.found === 0,
    found: check.found,
    findings: check.findings,
    ...(check.stopped ? { stopped: true } : {}),
    checked: { namespaces, ...check.checked },
    ...(repaired ? { repaired } : {}),
  }
}

/** Makes the report of a store whose own tables cannot be read: one finding, and nothing was
 *  checked. */
export function unopened(error: TailraceError, options: CheckOptions): CheckReport {
  const { code, message } = error
  const finding: Finding = { where: 'store', code, message }
  options.onFinding?.(finding)
  const checked = { namespaces: 0, roots: 0, nodes: 0, blobs: 0, size: 0 }
  return { clean: false, found: 1, findings: [finding], checked }
}
