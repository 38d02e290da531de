/** `tailrace ns`: list, create and remove namespaces. See rfc/6. */

import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { withStore } from './session.js'
import { sizeText } from './size.js'

export async function list(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const [namespaces, usage] = await Promise.all([store.namespaces.list(), store.upkeep.usage()])
    if (options.flag('json')) {
      await stdout.json({ namespaces, usage })
      return undefined
    }
    for (const { name, seq, keys, size, historySize, settings } of namespaces) {
      const { quota } = settings
      const bound = quota === undefined ? '' : ` of ${sizeText(quota)}`
      const bytes = `${sizeText(size)}${bound} live, ${sizeText(historySize)} history`
      await stdout.line(`${name.padEnd(20)} seq ${seq}, ${keys} keys, ${bytes}`)
    }
    const { disk, stored, live, history } = usage
    const file = disk === undefined ? 'in memory' : `${sizeText(disk)} on disk`
    await stdout.line(
      `${'all'.padEnd(20)} ${file}, ${sizeText(stored)} stored: ${sizeText(live)} live, ${sizeText(history)} history`,
    )
    return undefined
  })
}

export async function create(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const namespace = invocation.options.text('from')
  const at = invocation.options.at('at')
  if (at !== undefined && namespace === undefined) throw new UsageError('--at goes with --from')
  const from = namespace === undefined ? {} : { from: { namespace, ...defined({ at }) } }
  return withStore(invocation, async (store) => {
    const view = await store.namespaces.create(name, from)
    if (invocation.options.flag('json')) await invocation.stdout.json(view)
    return undefined
  })
}

export async function remove(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    await store.namespaces.remove(name)
    if (invocation.options.flag('json')) await invocation.stdout.json({ name })
    return undefined
  })
}
