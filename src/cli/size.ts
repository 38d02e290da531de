/** Numbers of bytes as people write them: `4096`, `64K`, `1.5G`; a K is 1,024. See rfc/13. */

import { UsageError } from './invocation.js'

const units: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['K', 1024],
  ['M', 1024 ** 2],
  ['G', 1024 ** 3],
  ['T', 1024 ** 4],
])

/** In bytes, whole. Throws UsageError. */
export function parseSize(what: string, text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? []
  const size = Math.round(Number(digits) * (units.get((unit ?? '').toUpperCase()) ?? Number.NaN))
  if (Number.isSafeInteger(size)) return size
  throw new UsageError(`${what} takes a number of bytes like 4096, 64K, 500M or 10G, not "${text}"`)
}

/** `14895155` → `14.2M`, as `parseSize` reads it back, rounded. */
export function sizeText(size: number): string {
  let text = `${size} B`
  for (const [unit, bytes] of units) {
    if (bytes > 1 && size >= bytes) text = `${(size / bytes).toFixed(1)}${unit}`
  }
  return text
}
