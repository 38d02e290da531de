/** Bounds the memory that the process of a server holds but does not use. See rfc/12, rule 36.
 *  Invariant: the number of bytes that pass through between two full garbage collections does not
 *  depend on the size of the heap. After each of them, memory that was freed outside of V8's heap
 *  goes back to the system. */

import { readFile } from 'node:fs/promises'
import { giveBackFreedMemory, giveBackLargePieces } from '../base/posix.js'
import { startTimer } from '../base/timer.js'

/** The number of bytes that may pass through a server between two full garbage collections. By
 *  itself V8 collects a small heap after every 16 MB, and marking took a quarter of all CPU of a
 *  flood of output. A large heap it lets grow to twice its size. */
const heapGrowthSize = 24 * 1024 * 1024
/** The smallest growth of the heap between two collections that V8 is told, in percent of the heap
 *  after the last one. */
const growingPercentMin = 25
/** The largest such growth, in percent. */
const growingPercentMax = 400
/** The time between a full garbage collection and giving memory back, in ms. V8 goes on to free
 *  buffers on another thread in this time. Collections within it share one giving back. */
const giveBackDelayMs = 200

/** Bounds the memory of this process until it ends. */
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

/** Returns the memory of the process without mapped files, in bytes: LMDB maps its whole store. */
export async function anonymousMemory(): Promise<number> {
  try {
    const text = await readFile('/proc/self/status', 'utf8')
    const kibibytes = /^RssAnon:\s+([0-9]+) kB$/m.exec(text)?.[1]
    if (kibibytes !== undefined) return Number(kibibytes) * 1024
  } catch {
    // Without /proc the resident size is the nearest figure.
  }
  return process.memoryUsage.rss()
}
