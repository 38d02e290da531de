/** Runs: blobs of a segment that lie side by side are read together. See rfc/21, rule 11. Pure. */

import type { Place } from './place.js'

/** The largest size of a run of more than one blob, in bytes. */
const runSizeMax = 1024 * 1024

/** Blobs of one segment that lie side by side. */
export type Run = {
  readonly segment: number
  readonly offset: number
  length: number
  readonly parts: { readonly index: number; readonly place: Place }[]
}

/** Hands the bytes of a run to the results of its parts. Parts that the file does not have stay
 *  undefined. */
export function share(
  bytes: Buffer | undefined,
  run: Run,
  results: (Uint8Array | undefined)[],
): void {
  if (!bytes) return
  for (const { index, place } of run.parts) {
    const from = place.offset - run.offset
    if (from + place.length > bytes.length) continue
    const part = bytes.subarray(from, from + place.length)
    results[index] = run.parts.length > 1 ? new Uint8Array(part) : part
  }
}

/** Joins places that lie side by side, up to `runSizeMax` bytes. */
export function runsOf(places: readonly (Place | undefined)[]): Run[] {
  const parts = places.flatMap((place, index) => (place ? [{ index, place }] : []))
  parts.sort((a, b) => a.place.segment - b.place.segment || a.place.offset - b.place.offset)
  const runs: Run[] = []
  for (const part of parts) {
    const { segment, offset, length } = part.place
    const run = runs.at(-1)
    const end = offset + length
    const joins = run?.segment === segment && offset <= run.offset + run.length
    if (run && joins && end - run.offset <= runSizeMax) {
      run.parts.push(part)
      run.length = Math.max(run.length, end - run.offset)
    } else {
      runs.push({ segment, offset, length, parts: [part] })
    }
  }
  return runs
}
