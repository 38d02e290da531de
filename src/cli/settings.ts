/** `tailrace ns show`, `tailrace ns config`: the settings of a namespace. See rfc/10. */

import { TailraceError } from '../error.js'
import type { Settings, SettingsChange } from '../transaction/settings.js'
import { parseDuration } from './duration.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { withStore } from './session.js'
import { parseSize } from './size.js'

export async function show(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const found = (await store.namespaces()).find((each) => each.name === name)
    if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
    if (options.flag('json')) {
      await stdout.json(found)
      return undefined
    }
    const { settings, created, ...view } = found
    const fields = { ...view, created: new Date(created).toISOString() }
    for (const [field, value] of Object.entries(fields)) {
      await stdout.line(`${field.padEnd(12)} ${value}`)
    }
    await stdout.write(settingsText(settings))
    return undefined
  })
}

export async function config(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const change = changeOf(invocation)
  if (Object.keys(change).length === 0) throw new UsageError('say which setting to change')
  return withStore(invocation, async (store) => {
    const settings = await store.configureNamespace(name, change)
    if (invocation.options.flag('json')) await invocation.stdout.json(settings)
    else await invocation.stdout.write(settingsText(settings))
    return undefined
  })
}

function changeOf({ options }: Invocation): SettingsChange {
  const age = options.text('historyAge')
  const size = options.text('historySize')
  const quota = options.text('quota')
  return {
    ...defined({ historyCount: options.integer('historyCount', 1) }),
    ...(age === undefined ? {} : { historyAgeMs: parseDuration('--history-age', age) }),
    ...(size === undefined ? {} : { historySize: parseSize('--history-size', size) }),
    ...(quota === undefined
      ? {}
      : { quota: quota === 'none' ? null : parseSize('--quota', quota) }),
  }
}

function settingsText({ historyCount, historyAgeMs, historySize, quota }: Settings): string {
  return (
    `historyCount ${historyCount} roots\n` +
    `historyAge   ${historyAgeMs / 1_000} s\n` +
    `historySize  ${historySize} bytes\n` +
    `quota        ${quota === undefined ? 'none' : `${quota} bytes`}\n`
  )
}
