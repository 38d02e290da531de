/** The op that changes what a namespace retains: its settings, its floor. See rfc/10.
 *  Invariant: the recorded floor never goes back. */

import type { Group } from './group.js'
import { getRecord, setRecord } from './meta.js'
import {
  changeSettings,
  decodeFloor,
  decodeSettings,
  encodeSettings,
  floorPath,
  settingsDefault,
  settingsPath,
} from './settings.js'
import type { PreparedOp } from './transaction.js'
import type { Work } from './work.js'

/** Throws EINVAL. */
export async function retain(
  { meta }: Group,
  { change, floor: asked, changed }: Extract<PreparedOp, { op: 'retain' }>,
  work: Work,
): Promise<void> {
  const floor = asked === 'here' ? work.seq + 1 : asked
  const record = await getRecord(meta, settingsPath)
  const settings = changeSettings(record ? decodeSettings(record) : settingsDefault, change)
  if (Object.keys(change).length > 0) {
    await setRecord(meta, settingsPath, encodeSettings(settings))
  }
  const recorded = await getRecord(meta, floorPath)
  if (floor > (recorded ? decodeFloor(recorded) : 0)) await setRecord(meta, floorPath, [floor])
  work.effects.push(() => changed(settings))
  work.results.push({})
}
