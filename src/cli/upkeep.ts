/** `tailrace gc` and `tailrace forget`. See rfc/14. */

import type { Collected, CollectProgress } from '../api/upkeep.js'
import { argument, defined, type Invocation } from './invocation.js'
import { withStore } from './session.js'
import { Ticker } from './ticker.js'

export async function gc(invocation: Invocation): Promise<undefined> {
  const { options, stdout, stderr } = invocation
  return withStore(invocation, async (store) => {
    const ticker = new Ticker(stderr)
    const onProgress = (progress: CollectProgress) => {
      void ticker.update(() => progressText(progress)) // shown or not, nothing depends on it
    }
    const dryRun = options.flag('dryRun')
    const collected = await store.upkeep.collect({
      dryRun,
      ...(stderr.isTerminal && { onProgress }),
    })
    await ticker.end()
    if (options.flag('json')) await stdout.json(collected)
    else for (const line of linesOf(collected)) await stdout.line(line)
    return undefined
  })
}

export async function forget(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const forgotten = await store.upkeep.forget(
      key,
      defined({ namespace: options.text('namespace') }),
    )
    if (options.flag('json')) await stdout.json(forgotten)
    else {
      const { roots, pins } = forgotten
      await stdout.line(
        `taken out of ${roots} roots and ${pins} pins; "tailrace gc" frees its bytes`,
      )
    }
    return undefined
  })
}

function progressText({ phase, done, total }: CollectProgress): string {
  if (phase === 'mark') return `marking: ${done} in use`
  if (phase === 'overwrite') return `clearing freed pages: ${(done / 1e6).toFixed(0)} MB`
  return `sweeping: ${(done / 1e6).toFixed(0)} of ${((total ?? done) / 1e6).toFixed(0)} MB`
}

function linesOf(collected: Collected): string[] {
  const { dryRun, live, freed, steps, longestStepMs, overwritten } = collected
  return [
    `${dryRun ? 'would free' : 'freed'} ${freed.count} blobs: ${freed.size} bytes`,
    `${live.count} blobs are in use: ${live.size} bytes`,
    `${steps} ${steps === 1 ? 'step' : 'steps'}, the longest took ${longestStepMs.toFixed(1)} ms`,
    ...(overwritten === undefined
      ? []
      : [`wrote over ${overwritten} bytes of freed pages, since something was forgotten`]),
  ]
}
