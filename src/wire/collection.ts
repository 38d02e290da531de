/** Collections and forgotten keys, as both ends read them. See rfc/12, rfc/14. */

import type { Collected, CollectProgress, Forgotten } from '../api/upkeep.js'
import { parseOneOf, parseTotals } from './answers.js'
import { optional, parseFields, parseFlag, parseInteger, parseNumber, parseText } from './parse.js'
import { parseErrorBody } from './status.js'

const collectFields = new Set(['dryRun'])
const forgetFields = new Set(['key'])
const phases = ['mark', 'sweep', 'overwrite'] as const

/** Throws EINVAL. */
export function parseCollectBody(input: unknown): { readonly dryRun?: boolean } {
  if (input === undefined) return {}
  return optional('dryRun', parseFields(input, 'gc', collectFields), 'gc', parseFlag)
}

/** The key. Throws EINVAL. */
export function parseForgetBody(input: unknown): string {
  return parseText(parseFields(input, 'forget', forgetFields)['key'], 'key')
}

export function parseCollected(input: unknown): Collected {
  const fields = parseFields(input, 'answer')
  return {
    dryRun: parseFlag(fields['dryRun'], 'dryRun'),
    live: parseTotals(fields['live'], 'live'),
    freed: parseTotals(fields['freed'], 'freed'),
    longestStepMs: parseNumber(fields['longestStepMs'], 'longestStepMs'),
    steps: parseInteger(fields['steps'], 'steps'),
    ...optional('overwritten', fields, 'answer', parseInteger),
  }
}

export function parseForgotten(input: unknown): Forgotten {
  const fields = parseFields(input, 'answer')
  return {
    roots: parseInteger(fields['roots'], 'roots'),
    pins: parseInteger(fields['pins'], 'pins'),
    ...optional('seq', fields, 'answer', parseInteger),
  }
}

/** One line of a collection that tells how far it is. Throws what ended it. */
export function parseCollectLine(
  input: unknown,
): { readonly progress: CollectProgress } | { readonly collected: Collected } {
  const fields = parseFields(input, 'line')
  if (fields['error'] !== undefined) throw parseErrorBody(fields['error'])
  if (fields['collected'] !== undefined) return { collected: parseCollected(fields['collected']) }
  const progress = parseFields(fields['progress'], 'progress')
  return {
    progress: {
      phase: parseOneOf(progress['phase'], phases, 'phase'),
      done: parseInteger(progress['done'], 'done'),
      ...optional('total', progress, 'progress', parseInteger),
    },
  }
}
