/** Namespaces: `tailrace ns`, their settings, and their roots. See rfc/6; for the settings,
 *  rfc/10. */

import type { Settings, SettingsChange } from '../api/namespace.js'
import { jobsNamespace } from '../api/namespace.js'
import { defined } from '../base/shape.js'
import { TailraceError, unless } from '../error.js'
import {
  argument,
  command,
  commandGroup,
  namespaceName,
  option,
  orNone,
  UsageError,
} from './command.js'
import { json, namespace, place, utc } from './options.js'
import { atRoot, root as rootValue } from './roots.js'
import { withStore } from './session.js'
import { duration, integer, size, sizeText, timeText } from './units.js'

export const root = command({
  name: 'root',
  summary: "show a namespace's root: seq and ref",
  options: {
    namespace,
    waitSeq: option('--wait-seq <n>', 'wait until the namespace is there', integer()),
    json,
    ...place,
  },
  examples: ['tailrace root', 'tailrace root -n jobs --json'],
  run: async (call) => {
    const { options, stdout } = call
    const { namespace, waitSeq } = options
    return withStore(call, async (store) => {
      const view = await store.root(defined({ namespace, waitSeq }))
      if (options.json) await stdout.json(view)
      else await stdout.line(`${view.seq} ${view.ref}`)
    })
  },
})

const list = command({
  name: 'list',
  summary: 'list namespaces',
  options: { json, ...place },
  examples: ['tailrace ns list'],
  run: async (call) => {
    const { options, stdout } = call
    return withStore(call, async (store) => {
      // The usage of the store is for its owner.
      const [namespaces, usage] = await Promise.all([
        store.namespaces.list(),
        store.upkeep.usage().catch(unless('EPERM')),
      ])
      if (options.json) return stdout.json(defined({ namespaces, usage }))
      for (const { name, seq, keys, size, historySize, settings } of namespaces) {
        const { quota } = settings
        const bound = quota === undefined ? '' : ` of ${sizeText(quota)}`
        const bytes = `${sizeText(size)}${bound} live, ${sizeText(historySize)} history`
        await stdout.line(`${name.padEnd(20)} seq ${seq}, ${keys} keys, ${bytes}`)
      }
      if (!usage) return
      const { disk, stored, live, history } = usage
      const file = disk === undefined ? 'in memory' : `${sizeText(disk)} on disk`
      await stdout.line(
        `${'all'.padEnd(20)} ${file}, ${sizeText(stored)} stored: ${sizeText(live)} live, ${sizeText(history)} history`,
      )
    })
  },
})

const create = command({
  name: 'create',
  summary: 'create a namespace, empty or with the tree of another one',
  parameters: { name: argument('<name>') },
  options: {
    from: option('--from <namespace>', 'begin with its tree, by reference', namespaceName),
    at: option('--at <seq|ref|time>', 'as it was at that retained root', rootValue, {
      needs: 'from',
    }),
    json,
    ...place,
  },
  examples: ['tailrace ns create staging', 'tailrace ns create try --from primary --at 120'],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const { from: namespace } = options
    return withStore(call, async (store) => {
      const at = await atRoot(store, options.at, namespace)
      const from = namespace === undefined ? {} : { from: { namespace, ...at } }
      const view = await store.namespaces.create(args.name, from)
      if (options.json) await stdout.json(view)
    })
  },
})

const remove = command({
  name: 'remove',
  summary: 'remove a namespace and all that is in it',
  parameters: { name: argument('<name>', namespaceName) },
  options: { json, ...place },
  examples: ['tailrace ns remove staging'],
  run: async (call) => {
    const { name } = call.args
    return withStore(call, async (store) => {
      await store.namespaces.remove(name)
      if (call.options.json) await call.stdout.json({ name })
    })
  },
})

const show = command({
  name: 'show',
  summary: 'show a namespace and its settings',
  parameters: { name: argument('<name>', namespaceName) },
  options: { utc, json, ...place },
  examples: ['tailrace ns show primary'],
  run: async (call) => {
    const { options, stdout } = call
    const { name } = call.args
    return withStore(call, async (store) => {
      const found = (await store.namespaces.list()).find((each) => each.name === name)
      if (!found) throw new TailraceError('ENONS', `there is no namespace ${name}`)
      if (options.json) return stdout.json(found)
      const { settings, created, ...view } = found
      const fields = { ...view, created: timeText(created, options) }
      for (const [field, value] of Object.entries(fields)) {
        await stdout.line(`${field.padEnd(12)} ${value}`)
      }
      await stdout.write(settingsText(settings, name))
    })
  },
})

const config = command({
  name: 'config',
  summary: 'change how much of a namespace is kept',
  description:
    'Change settings of a namespace. Roots are retained while they are among the last --history-count ' +
    'or younger than --history-age, but the oldest go where the history has more than --history-size ' +
    'bytes. What is not given stays; what has gone does not come back.',
  parameters: { name: argument('<name>', namespaceName) },
  options: {
    historyCount: option(
      '--history-count <n>',
      'roots that are retained however old (default: 4096)',
      integer(1),
    ),
    historyAge: option(
      '--history-age <time>',
      'time that all are retained: 90s, 12h, 7d (default: 1h)',
      duration,
    ),
    historySize: option(
      '--history-size <bytes>',
      'bytes of history: 500M, 10G (default: 1G)',
      size,
    ),
    quota: option(
      '--quota <bytes>',
      'bytes of the values that are there now; none: no bound',
      orNone(size),
    ),
    keepJobs: option(
      '--keep-jobs <n>',
      'of jobs: finished ones that are kept; none: all (the default)',
      orNone(integer()),
    ),
    keepJobsAge: option(
      '--keep-jobs-age <time>',
      'of jobs: one goes so long after its end; none',
      orNone(duration),
    ),
    keepJobsSize: option(
      '--keep-jobs-size <bytes>',
      'of jobs: the oldest go above so many bytes; none',
      orNone(size),
    ),
    json,
    ...place,
  },
  examples: [
    'tailrace ns config primary --history-age 7d',
    'tailrace ns config staging --quota 10G',
    'tailrace ns config jobs --keep-jobs 1000 --keep-jobs-age 30d --keep-jobs-size 10G',
  ],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const { historyAge: historyAgeMs, keepJobsAge: keepJobsAgeMs } = options
    const { historyCount, historySize, quota, keepJobs, keepJobsSize } = options
    const change: SettingsChange = {
      ...defined({ historyCount, historyAgeMs, historySize, quota }),
      ...defined({ keepJobs, keepJobsAgeMs, keepJobsSize }),
    }
    if (Object.keys(change).length === 0) throw new UsageError('say which setting to change')
    return withStore(call, async (store) => {
      const settings = await store.namespaces.configure(args.name, change)
      if (options.json) await stdout.json(settings)
      else await stdout.write(settingsText(settings, args.name))
    })
  },
})

export const ns = commandGroup({
  name: 'ns',
  summary: 'list, create, configure and remove namespaces',
  commands: [list, create, remove, show, config],
  examples: ['tailrace ns create staging', 'tailrace ns list', 'tailrace ns remove staging'],
})

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
