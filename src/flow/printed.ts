/** Reads what targets of a run have printed, in any process, while they run and afterwards. See rfc/27,
 *  rule 13.
 *  Invariant: a reader that follows ends with the target, or with its run, however that ends. */

import type { OutputChunk, RunFacts, RunOutputOptions } from '../api/flow-look.js'
import { eitherSignal } from '../base/abort.js'
import { pause, waitMsMax } from '../base/timer.js'
import { isCode, TailraceError, unless } from '../error.js'
import { readPieces } from '../eventlog/read-stream.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { outputKey } from './run-output.js'

/** The number of last lines, and of their last characters, that are told of a failure. */
const [lastLinesMax, lastSizeMax] = [10, 2_048]

/** A target of a run. */
export type PrintedPlace = FlowPlace & { readonly run: string; readonly target: string }

/** Yields what a target has printed so far. Throws ENOENT if that is nothing. */
export async function* printed(
  { store, flow, run, target }: PrintedPlace,
  { lines, signal }: RunOutputOptions,
): AsyncGenerator<OutputChunk, void, undefined> {
  const scope = { namespace: namespaceOfFlow(flow), ...(signal && { signal }) }
  const key = outputKey(run, target)
  const stat = await store.stat(key, scope).catch(unless('ENOENT'))
  if (!stat) {
    const message = `target ${target} has printed nothing in the run ${run}, if that has it`
    throw new TailraceError('ENOENT', message)
  }
  yield* readPieces(store, key, undefined, { ...scope, ...(lines !== undefined && { lines }) })
}

/** Yields what a target prints, until it, or its run, does not go on. `ended` resolves when the run does
 *  not. */
export async function* printedFrom(
  place: PrintedPlace,
  { lines, signal }: RunOutputOptions,
  ended: (signal: AbortSignal) => Promise<RunFacts>,
): AsyncGenerator<OutputChunk, void, undefined> {
  const { store, flow, run, target } = place
  const namespace = namespaceOfFlow(flow)
  const key = outputKey(run, target)
  const over = new AbortController()
  const either = eitherSignal(signal, over.signal)
  const scope = { namespace, signal: either.signal }
  // A watch of an embedded store does not keep the process alive.
  pause(waitMsMax, either.signal).catch(() => {})
  const watching = ended(either.signal)
    .then(async () => {
      const stat = await store.stat(key, { namespace }).catch(unless('ENOENT'))
      // The logs of a run that was killed are not sealed; the others end by themselves.
      if (!stat?.sealed) over.abort()
    })
    .catch(() => {})
  try {
    await isThere(store.watch(key, { mode: 'value', waitCreate: true, ...scope }))
    const more = { follow: true, ...(lines !== undefined && { lines }) }
    yield* readPieces(store, key, undefined, { ...scope, ...more })
  } catch (error) {
    if (!over.signal.aborted || !isCode(error, 'ECANCELED')) throw error
  } finally {
    over.abort()
    either.end()
    await watching
  }
}

/** Waits for the first event of a watch. */
async function isThere(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events) return
}

/** Returns the last lines that a target has printed; undefined if it has printed nothing. */
export async function lastLinesOf(place: PrintedPlace): Promise<string | undefined> {
  try {
    const chunks: Uint8Array[] = []
    for await (const { data } of printed(place, { lines: lastLinesMax })) chunks.push(data)
    return Buffer.concat(chunks).toString().slice(-lastSizeMax).trimEnd().toWellFormed()
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return undefined
  }
}
