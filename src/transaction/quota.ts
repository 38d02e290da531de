/** The bytes that the values of a namespace may have. See rfc/6, rule 35. */

import { TailraceError } from '../error.js'
import type { Group } from './group.js'
import { getRecord, lacksKind } from './meta.js'
import { decodeSettings, settingsPath } from './settings.js'

/** `before`: bytes before the transaction. Throws EDQUOT where it leaves more, and more than the quota. */
export function checkQuota(group: Group, before: number): Promise<void> | undefined {
  const grown = group.draft.size > before && !lacksKind(group, settingsPath[0])
  return grown ? checkSize(group) : undefined
}

async function checkSize(group: Group): Promise<void> {
  const { size } = group.draft
  const record = await getRecord(group.meta, settingsPath)
  const quota = record && decodeSettings(record).quota
  if (quota === undefined || size <= quota) return
  throw new TailraceError(
    'EDQUOT',
    `the values of ${group.namespace} would have ${size} bytes, its quota is ${quota}: remove some, or raise it`,
    { failed: { state: { size, quota } } },
  )
}
