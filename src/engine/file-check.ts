/** Checks the files of the journal of a store that nobody uses: each segment that the tables know is
 *  there, and each head of a record in it is whole. With `repair` it does what can be done. See
 *  rfc/15, rule 20.
 *  Invariant: without `repair` nothing changes. With it no blob is dropped that a file still has. */

import type { Blobref } from '../blob/blobref.js'
import { hashBlob, hashNode } from '../blob/hash.js'
import { type Journal, segmentFile } from '../journal/journal.js'
import type { Place } from '../journal/place.js'
import type { SegmentDamage } from '../journal/scan.js'
import type { BlobTable } from './blob-table.js'
import { type FileDamage, sweepRefsMax, sweepStepSize } from './engine.js'
import type { Flush } from './flush.js'
import { placesIn } from './ref-index.js'
import type { SegmentTable } from './segment-table.js'
import { isAt, type SweptBlob } from './sweep.js'
import type { Table } from './tables.js'
import { type Job, stored, type WriteGroup, type Writer } from './writer.js'

type CheckPorts = {
  /** The directory of the journal. */
  readonly directory: string
  readonly blobs: BlobTable
  readonly journal: Journal
  readonly segments: SegmentTable
  readonly flush: Flush
  readonly writer: Writer
  /** The table of the index. */
  readonly index: Table
}

/** A segment that is missing (no damages), or has damages. */
type Hurt = { readonly segment: number; readonly damages: readonly SegmentDamage[] | undefined }

/** Implements `Engine.checkFiles`. */
export async function checkFiles(
  ports: CheckPorts,
  { repair }: { readonly repair: boolean },
): Promise<FileDamage[]> {
  const { journal, segments, flush } = ports
  const hurt: Hurt[] = []
  for (const segment of segments.ids) {
    const damages = await journal.damages(segment)
    if (damages?.length !== 0) hurt.push({ segment, damages })
  }
  if (hurt.length === 0) return []
  await flush.all() // so that the table of the index has all
  const found = await blobsIn(ports.index, new Set(hurt.map(({ segment }) => segment)))
  const all: FileDamage[] = []
  for (const { segment, damages } of hurt) {
    const blobs = found.get(segment) ?? []
    const path = segmentFile(ports.directory, segment)
    if (!damages) {
      if (repair) await forget(ports, segment, blobs)
      const size = blobs.reduce((sum, { place }) => sum + place.length, 0)
      const message = `${path} is missing, and with it ${blobs.length} blobs (${size} bytes): put the file back from a copy`
      all.push({ refs: [], message })
      continue
    }
    const isCleared = repair && (await clear(ports, segment, blobs))
    for (const { from, to } of damages) {
      const refs = blobs.flatMap(({ ref, place }) =>
        place.offset >= from && place.offset < to ? [ref] : [],
      )
      const what = from === 0 ? 'the header of the segment' : 'the head of a record'
      const how = isCleared ? '; what is whole was stored anew, and the file removed' : ''
      const message = `${path} is damaged from byte ${from} up to ${to} (${what})${how}`
      all.push({ refs, message })
    }
  }
  return all
}

/** Lists the blobs that the index finds in some segments. Reads all of it. */
async function blobsIn(
  index: Table,
  segments: ReadonlySet<number>,
): Promise<Map<number, SweptBlob[]>> {
  const found = new Map<number, SweptBlob[]>()
  for await (const page of placesIn(index)) {
    for (const blob of page) {
      const { segment } = blob.place
      if (!segments.has(segment)) continue
      const list = found.get(segment) ?? []
      list.push(blob)
      found.set(segment, list)
    }
  }
  return found
}

/** Drops the blobs of a segment that is missing: as long as the index finds them, their bytes are not
 *  stored again. */
async function forget(
  { blobs, segments, flush, writer }: CheckPorts,
  segment: number,
  lost: readonly SweptBlob[],
): Promise<void> {
  for (let at = 0; at < lost.length; at += sweepRefsMax) {
    const plan = (group: WriteGroup) => {
      for (const { ref, place } of lost.slice(at, at + sweepRefsMax))
        if (isAt(blobs.place(ref), place)) group.drops.add(ref)
      return () => {}
    }
    await write(writer, { names: [], blobs: [], frees: true, plan })
  }
  segments.remove(segment)
  await flush.all()
}

/** Stores the blobs of a segment again that are whole. If all are, removes the segment, and resolves
 *  to true. */
async function clear(
  { blobs, journal, segments, flush, writer }: CheckPorts,
  segment: number,
  held: readonly SweptBlob[],
): Promise<boolean> {
  if (segment === journal.end.segment) {
    const plan = (group: WriteGroup) => {
      group.rolls = true
      return () => {}
    }
    await write(writer, { names: [], blobs: [], frees: true, plan })
  }
  let whole = true
  for (const part of partsOf(held)) {
    const bytes = await journal.read(part.map(({ place }) => place))
    const moving = part.flatMap(({ ref, place }, index) => {
      const content = bytes[index]
      return content && isWhole(ref, content) ? [{ ref, place, bytes: content }] : []
    })
    if (moving.length < part.length) whole = false
    const plan = (group: WriteGroup) => {
      for (const { ref, place, bytes: content } of moving)
        if (isAt(blobs.place(ref), place)) group.moved.push({ ref, bytes: content })
      return () => {}
    }
    await write(writer, { names: [], blobs: [], frees: true, plan })
  }
  if (!whole) return false
  segments.remove(segment)
  await flush.all()
  await journal.remove(segment, { overwrite: false })
  return true
}

async function write(writer: Writer, job: Job<void>): Promise<void> {
  stored(await writer.submit(job))
}

function isWhole(ref: Blobref, bytes: Uint8Array): boolean {
  return hashBlob(bytes) === ref || hashNode(bytes) === ref
}

/** Cuts a list of blobs into parts of a bounded size, in the order of their places. */
function partsOf(blobs: readonly SweptBlob[]): SweptBlob[][] {
  const parts: SweptBlob[][] = []
  let size = 0
  const inOrder = [...blobs].sort((a, b) => offsetOf(a.place) - offsetOf(b.place))
  for (const blob of inOrder) {
    const part = parts.at(-1)
    if (part && part.length < sweepRefsMax && size < sweepStepSize) {
      part.push(blob)
      size += blob.place.length
    } else {
      parts.push([blob])
      size = blob.place.length
    }
  }
  return parts
}

function offsetOf({ offset }: Place): number {
  return offset
}
