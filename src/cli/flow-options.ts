/** Options that several commands of `tailrace flow` share. See rfc/24, rule 25. */

import { layerName, option, UsageError, type ValueKind } from './command.js'

export const flow = option(
  '--flow <name>',
  'the flow that records targets and runs (default: main)',
)

export const layer = option(
  '--layer <name>',
  'the layer of the cache for results (default: main)',
  layerName,
)

/** An amount of a resource, `gpu=1`. */
export const amount: ValueKind<readonly [resource: string, amount: number]> = {
  parse: (text, what) => {
    const [, resource, digits] = /^(.+)=(\d+)$/.exec(text) ?? []
    if (resource !== undefined && Number.isSafeInteger(Number(digits))) {
      return [resource, Number(digits)]
    }
    throw new UsageError(`${what} takes RESOURCE=N like gpu=1, not "${text}"`)
  },
}
