/** Numbers of bytes as people write them: `4096`, `64K`, `1.5G`; a K is 1,024. See rfc/13. */

import { UsageError } from './invocation.js'

const kilo = 1024

const units: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['K', kilo],
  ['M', kilo ** 2],
  ['G', kilo ** 3],
  ['T', kilo ** 4],
])

/** In bytes, whole. Throws UsageError. */
export function parseSize(what: string, text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? []
  const size = Math.round(Number(digits) * (units.get((unit ?? '').toUpperCase()) ?? Number.NaN))
  if (Number.isSafeInteger(size)) return size
  throw new UsageError(`${what} takes a number of bytes like 4096, 64K, 500M or 10G, not "${text}"`)
}

/** `14895155` → `14M`, `1536` → `1.5K`, `12` → `12B`: in two digits or so, as `parseSize` reads it back, rounded. */
export function sizeText(size: number): string {
  let text = `${size}B`
  for (const [unit, bytes] of units) {
    // A size that would be shown as 1024K is 1.0M.
    const isNext = Math.round((size / bytes) * kilo) >= kilo
    if (bytes === 1 || !isNext) continue
    const value = size / bytes
    text = `${value.toFixed(Math.round(value * 10) < 100 ? 1 : 0)}${unit}`
  }
  return text
}
