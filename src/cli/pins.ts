/** `tailrace pin`, `unpin`, `pins`: roots that are kept by name. See rfc/10. */

import { shortRef, timeText } from './format.js'
import { argument, defined, type Invocation } from './invocation.js'
import { withStore } from './session.js'

export async function pin(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  const { options, stdout } = invocation
  const scope = defined({ namespace: options.text('namespace'), at: options.at('at') })
  return withStore(invocation, async (store) => {
    const made = await store.history.pin(name, scope)
    if (options.flag('json')) await stdout.json(made)
    else await stdout.line(`${made.seq} ${made.ref}`)
    return undefined
  })
}

export async function unpin(invocation: Invocation): Promise<undefined> {
  const name = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    await store.history.unpin(name)
    if (invocation.options.flag('json')) await invocation.stdout.json({ name })
    return undefined
  })
}

export async function pins(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const all = await store.history.pins()
    if (options.flag('json')) {
      await stdout.json({ pins: all })
      return undefined
    }
    for (const { name, namespace, seq, time, ref } of all) {
      const when = timeText(time, options)
      await stdout.line(`${name.padEnd(20)} ${namespace} ${seq} ${when} ${shortRef(ref)}`)
    }
    return undefined
  })
}
