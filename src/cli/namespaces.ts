/** `tailrace ns`: list, create and remove namespaces. See rfc/6. */

import { argument, type Invocation } from './invocation.js'
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
      await stdout.line(`${name.padEnd(20)} seq ${seq}, ${keys} keys, ${size} bytes`)
    }
    return undefined
  })
}

export async function create(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    const view = await store.createNamespace(name)
    if (invocation.options.flag('json')) await invocation.stdout.json(view)
    return undefined
  })
}

export async function remove(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    await store.removeNamespace(name)
    return undefined
  })
}
