/** Changes of a namespace's settings, and of the floor that is recorded with them. See rfc/10.
 *  Invariant: wider settings bring no dropped root back, since the floor before the change is
 *  recorded in the same commit. */

import { jobsNamespace, type Settings, type SettingsChange } from '../api/namespace.js'
import type { Committer, Open } from '../commit/committer.js'
import { TailraceError } from '../error.js'
import type { UpdateCollection } from '../present/collection.js'
import { changeSettings, jobSettingNames, settingsDefault } from '../present/settings.js'
import { ownTransaction, prepare } from '../transaction/transaction.js'

const settingNames = new Set([
  ...['historyCount', 'historyAgeMs', 'historySize', 'quota'],
  ...jobSettingNames,
])

/** Changes settings of a namespace in one commit, and returns all of them. Throws EINVAL, ENONS,
 *  and what a commit throws. */
export async function configure(open: Open, change: SettingsChange): Promise<Settings> {
  const { live, committer } = open
  const unknown = Object.keys(change).find((name) => !settingNames.has(name))
  if (unknown !== undefined) {
    throw new TailraceError('EINVAL', `there is no setting ${unknown}: see rfc/10`)
  }
  const misplaced = Object.keys(change).find((name) => jobSettingNames.includes(name))
  if (misplaced !== undefined && live.name !== jobsNamespace) {
    const message = `${misplaced} is a setting of the namespace ${jobsNamespace} alone`
    throw new TailraceError('EINVAL', message)
  }
  changeSettings(settingsDefault, change) // throws EINVAL before anything is committed
  const floor = await live.retention.floor()
  let settings = settingsDefault
  const changed = (to: Settings) => {
    settings = to
  }
  await committer.submit(ownTransaction({ op: 'retain', change, floor, changed }))
  await live.retention.floor()
  return settings
}

/** Makes the floor of a namespace durable, and returns it. A clock that goes back then cannot bring
 *  back a root whose tree a collection has freed. Throws what a commit throws. */
export async function settle({ live, committer }: Open): Promise<number> {
  const floor = await live.retention.floor()
  if (floor > (await live.recordedFloor())) {
    await committer.submit(ownTransaction({ op: 'retain', change: {}, floor, changed: () => {} }))
  }
  return floor
}

/** Removes keys, and all below them, in one commit after which no older root is retained. Their
 *  values stay readable only in roots that are pinned, kept or held. Returns the commit's seq. A
 *  missing key is no error. Throws what a commit throws. */
export async function removeWithHistory(
  { live, committer }: Open,
  keys: readonly string[],
): Promise<number> {
  const ops = keys.map((key) => ({ op: 'unlink', key, recursive: true }) as const)
  const removal = prepare({ ops })
  const retain = ownTransaction({ op: 'retain', change: {}, floor: 'here', changed: () => {} })
  const { seq } = await committer.submit({ ...removal, ops: [...removal.ops, ...retain.ops] })
  live.retention.raise(seq)
  await live.retention.floor()
  return seq
}

/** Changes the durable record of collections in one commit of the namespace `system`. Throws what a
 *  commit throws. */
export async function updateCollection(
  system: Committer,
  update: UpdateCollection['update'],
): Promise<void> {
  await system.submit(ownTransaction({ op: 'collection', update }))
}
