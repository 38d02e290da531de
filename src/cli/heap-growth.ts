/** How far the heap of a server may grow before V8 collects it. See rfc/13.
 *  Invariant: it is so many bytes, blobs in buffers included, whatever survives a collection. */

import { constants, PerformanceObserver } from 'node:perf_hooks'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'

/** Bytes that may pass through a server between two full collections. At V8's own choice a small heap is
 *  collected after every 16 MB, and marking took a quarter of all CPU of a flood of output; a large one may
 *  grow to twice its size. */
export const heapGrowthSize = 24 * 1024 * 1024
/** What V8 is told, of what survived the last collection. */
const growingPercentMin = 25
const growingPercentMax = 400

/** From now on, until the process ends. */
export function boundHeapGrowth(): void {
  bound()
  const observer = new PerformanceObserver((list) => {
    const major = constants.NODE_PERFORMANCE_GC_MAJOR
    if (list.getEntries().some((entry) => kindOf(entry) === major)) bound()
  })
  observer.observe({ entryTypes: ['gc'] })
}

function bound(): void {
  const percent = Math.round((100 * heapGrowthSize) / getHeapStatistics().used_heap_size)
  const within = Math.min(Math.max(percent, growingPercentMin), growingPercentMax)
  setFlagsFromString(`--heap-growing-percent=${within}`)
}

function kindOf(entry: object): unknown {
  const detail = 'detail' in entry ? entry.detail : undefined
  return typeof detail === 'object' && detail !== null && 'kind' in detail ? detail.kind : undefined
}
