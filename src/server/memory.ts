/** Bounds what the process of a server holds of memory beyond what it uses. See rfc/12, rule 36.
 *  Invariant: between two full collections of garbage as many bytes pass through, whatever survives
 *  them; and memory that was freed outside of V8's heap is given back after each of them. */

import { giveBackFreedMemory, giveBackLargePieces } from '../base/posix.js'
import { startTimer } from '../base/timer.js'

/** Bytes that may pass through a server between two full collections. At V8's own choice a small
 *  heap is collected after every 16 MB, and marking took a quarter of all CPU of a flood of output;
 *  a large one may grow to twice its size. */
const heapGrowthSize = 24 * 1024 * 1024
/** The least and the most that V8 is told, as a percentage of what survived the last collection. */
const growingPercentMin = 25
const growingPercentMax = 400
/** After a full collection buffers are freed on another thread for a while; one giving back serves
 *  all collections of this time. */
const giveBackDelayMs = 200

/** Bounds the memory of this process from now on until it ends. */
export async function boundMemory(): Promise<void> {
  const { constants, PerformanceObserver } = await import('node:perf_hooks')
  const { getHeapStatistics, setFlagsFromString } = await import('node:v8')
  giveBackLargePieces()
  const bound = () => {
    const percent = Math.round((100 * heapGrowthSize) / getHeapStatistics().used_heap_size)
    const within = Math.min(Math.max(percent, growingPercentMin), growingPercentMax)
    setFlagsFromString(`--heap-growing-percent=${within}`)
  }
  bound()
  let waits = false
  const giveBack = () => {
    waits = false
    void giveBackFreedMemory() // it never rejects: the library was loaded above
  }
  const observer = new PerformanceObserver((list) => {
    const major = constants.NODE_PERFORMANCE_GC_MAJOR
    if (!list.getEntries().some((entry) => kindOf(entry) === major)) return
    bound()
    if (!waits) startTimer(giveBackDelayMs, giveBack)
    waits = true
  })
  observer.observe({ entryTypes: ['gc'] })
}

function kindOf(entry: object): unknown {
  const detail = 'detail' in entry ? entry.detail : undefined
  return typeof detail === 'object' && detail !== null && 'kind' in detail ? detail.kind : undefined
}
