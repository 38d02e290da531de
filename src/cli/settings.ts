/** `tailrace ns show`, `tailrace ns config`: the settings of a namespace. See rfc/10. */

import type { Settings, SettingsChange } from '../api/namespace.js'
import { TailraceError } from '../error.js'
import { jobsNamespace } from '../job/keys.js'
import { parseDuration } from './duration.js'
import { timeText } from './format.js'
import {
  argument,
  defined,
  type Invocation,
  type Options,
  parseInteger,
  UsageError,
} from './invocation.js'
import { withStore } from './session.js'
import { parseSize } from './size.js'

export async function show(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const found = (await store.namespaces.list()).find((each) => each.name === name)
    if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
    if (options.flag('json')) {
      await stdout.json(found)
      return undefined
    }
    const { settings, created, ...view } = found
    const fields = { ...view, created: timeText(created, options) }
    for (const [field, value] of Object.entries(fields)) {
      await stdout.line(`${field.padEnd(12)} ${value}`)
    }
    await stdout.write(settingsText(settings, name))
    return undefined
  })
}

export async function config(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const change = changeOf(invocation)
  if (Object.keys(change).length === 0) throw new UsageError('say which setting to change')
  return withStore(invocation, async (store) => {
    const settings = await store.namespaces.configure(name, change)
    if (invocation.options.flag('json')) await invocation.stdout.json(settings)
    else await invocation.stdout.write(settingsText(settings, name))
    return undefined
  })
}

function changeOf({ options }: Invocation): SettingsChange {
  const age = options.text('historyAge')
  const size = options.text('historySize')
  const keepAge = options.text('keepJobsAge')
  return {
    ...defined({ historyCount: options.integer('historyCount', 1) }),
    ...(age === undefined ? {} : { historyAgeMs: parseDuration('--history-age', age) }),
    ...(size === undefined ? {} : { historySize: parseSize('--history-size', size) }),
    ...bound(options, 'quota', (text) => parseSize('--quota', text)),
    ...bound(options, 'keepJobs', (text) => parseInteger('--keep-jobs', text)),
    ...bound(options, 'keepJobsSize', (text) => parseSize('--keep-jobs-size', text)),
    ...(keepAge === undefined
      ? {}
      : { keepJobsAgeMs: keepAge === 'none' ? null : parseDuration('--keep-jobs-age', keepAge) }),
  }
}

/** A setting that `none` takes away. */
function bound<N extends 'quota' | 'keepJobs' | 'keepJobsSize'>(
  options: Options,
  name: N,
  parse: (text: string) => number,
): { readonly [name in N]?: number | null } {
  const text = options.text(name)
  if (text === undefined) return {}
  const value: { [name in N]?: number | null } = {}
  value[name] = text === 'none' ? null : parse(text)
  return value
}

function settingsText(settings: Settings, namespace: string): string {
  const { historyCount, historyAgeMs, historySize, quota } = settings
  const lines = [
    `historyCount ${historyCount} roots`,
    `historyAge   ${historyAgeMs / 1_000} s`,
    `historySize  ${historySize} bytes`,
    `quota        ${quota === undefined ? 'none' : `${quota} bytes`}`,
  ]
  if (namespace === jobsNamespace) {
    const { keepJobs = 'all', keepJobsAgeMs: age, keepJobsSize: size } = settings
    lines.push(
      `keepJobs     ${keepJobs}`,
      `keepJobsAge  ${age === undefined ? 'none' : `${age / 1_000} s`}`,
      `keepJobsSize ${size === undefined ? 'none' : `${size} bytes`}`,
    )
  }
  return lines.map((line) => `${line}\n`).join('')
}
