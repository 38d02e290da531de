/** The options of a write that caps its log. See rfc/6, rule 48. */

import type { Capping } from '../api/transaction.js'
import { parseDuration } from './duration.js'
import { defined, type Invocation, UsageError } from './invocation.js'
import type { OptionSpec } from './program.js'
import { parseSize } from './size.js'

export const cap: readonly OptionSpec[] = [
  { flags: '--keep <n>', text: 'from now on each append drops all but the last n (blobs)' },
  { flags: '--keep-bytes <size>', text: 'and all but the last bytes: 4096, 64K, 500M' },
  {
    flags: '--keep-age <time>',
    text: 'and what is older than: 90s, 12h, 7d (up to a minute late)',
  },
  { flags: '--uncap', text: 'from now on appends drop nothing' },
]

/** Throws UsageError. */
export function capOf({ options }: Invocation): Capping {
  const keepBytes = options.text('keepBytes')
  const keepAge = options.text('keepAge')
  const bounds = defined({
    keep: options.integer('keep', 1),
    keepBytes: keepBytes === undefined ? undefined : parseSize('--keep-bytes', keepBytes),
    keepAge: keepAge === undefined ? undefined : parseDuration('--keep-age', keepAge),
  })
  const isGiven = Object.keys(bounds).length > 0
  if (!options.flag('uncap')) return isGiven ? { cap: bounds } : {}
  if (isGiven) throw new UsageError('--uncap takes the cap away: beside it there is none')
  return { cap: null }
}
