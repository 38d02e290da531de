/** What every benchmark prints and computes: the machine and the date, medians and percentiles. */

import { cpus, totalmem } from 'node:os'

/** Machine, Node and date in one line. */
export function heading(): string {
  const [cpu] = cpus()
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  const date = new Date().toISOString().slice(0, 16)
  return `${cpu?.model ?? 'cpu'} × ${cpus().length}, ${memory}, Node ${process.version}, ${date}`
}

export function median(values: readonly number[]): number {
  return percentile(values, 50)
}

/** The nearest-rank percentile. REQUIRES: at least one value. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const rank = Math.ceil((percent / 100) * sorted.length)
  return sorted[Math.max(0, rank - 1)] ?? Number.NaN
}
