/** `tailrace ns`: list, create and remove namespaces. See rfc/6. */

import { sizeText } from './format.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { withStore } from './session.js'

export async function list(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const namespaces = await store.namespaces()
    if (options.flag('json')) {
      await stdout.json({ namespaces })
      return undefined
    }
    for (const { name, seq, keys, size } of namespaces) {
      await stdout.line(`${name.padEnd(20)} seq ${seq}, ${keys} keys, ${sizeText(size)}`)
    }
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
    const view = await store.createNamespace(name, from)
    if (invocation.options.flag('json')) await invocation.stdout.json(view)
    return undefined
  })
}

export async function remove(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    await store.removeNamespace(name)
    if (invocation.options.flag('json')) await invocation.stdout.json({ name })
    return undefined
  })
}
