/** Medians, percentiles, and the machine that a benchmark ran on. Times of
 *  several processes are compared by one clock of the machine. */

import { readdirSync, readFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'

/** The machine and its Node, in one line. */
export function machine(): string {
  const [cpu] = cpus()
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  return `${cpu?.model ?? 'cpu'} × ${cpus().length}, ${memory}, Node ${process.version}`
}

/** The load of the last minute, as the system averages it. */
export function load(): number {
  return loadavg()[0] ?? Number.NaN
}

/** The time in ms of the machine's monotonic clock, which all processes share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** The CPU time that a process and its threads took so far, in ms; a clock tick is 10 ms. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** The CPU time that the threads of a process took so far, in ns, as the scheduler counts it. */
export function cpuNsOf(pid: number): number {
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks).reduce((sum, id) => {
    const [onCpu] = readFileSync(`${tasks}/${id}/schedstat`, 'utf8').split(' ')
    return sum + Number(onCpu)
  }, 0)
}

/** The middle value, or the mean of the two in the middle. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN
  return (lower + upper) / 2
}

/** The nearest-rank percentile. NaN of nothing. */
export function percentile(values: Iterable<number>, percent: number): number {
  const sorted = Float64Array.from(values).sort()
  const rank = Math.ceil((percent / 100) * sorted.length)
  return sorted[Math.max(0, rank - 1)] ?? Number.NaN
}
