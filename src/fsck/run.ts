/** Checks an engine from beginning to end, and repairs it if asked. See rfc/15. */

import { type CheckReport, type Finding, findingsMax } from '../api/check.js'
import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
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
  const damages = await engine.checkFiles({ repair: options.repair })
  const refused = new Set(damages.flatMap(({ refs }) => refs))
  const needed = new Check(engine, content, environment, { refused, signal: options.signal })
  if (refused.size > 0) await needed.run()
  for (const { message, refs } of damages) {
    const keys = keysOf(new Set(refs), needed.findings)
    check.tell({ where: 'store', code: 'ECORRUPT', message: message + keys })
  }
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

/** The number of keys that a finding of a file names. */
const keysShown = 10

/** Returns, for a message, the keys that need some of the refs. `findings` are those of a check to which
 *  these refs were refused. */
function keysOf(refs: ReadonlySet<Blobref>, findings: readonly Finding[]): string {
  if (refs.size === 0) return ''
  const keys = new Set(
    findings.flatMap(({ namespace, where, key, ref }) =>
      key !== undefined && ref !== undefined && refs.has(ref)
        ? [where === 'meta' ? `${namespace} meta` : `${namespace} ${key}`]
        : [],
    ),
  )
  if (keys.size === 0) return '; no key needs what it told of'
  const shown = [...keys].slice(0, keysShown).join(', ')
  const more = keys.size > keysShown ? ` and ${keys.size - keysShown} more` : ''
  return `; what it told of is needed by: ${shown}${more}`
}
