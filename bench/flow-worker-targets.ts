/** The graphs of the benchmark of workers, as targets: a module that each worker imports. */

import type { Target } from '../src/api/flow.js'
import { target } from '../src/flow/flow.js'

/** The number of targets of each graph is divided by it. */
const scale = Number(process.env['TAILRACE_BENCH_FLOW_SCALE'] ?? '1')
const scaled = (count: number) => Math.ceil(count / scale)
const [slices, chained, wide, sizeOfSlice] = [scaled(500), scaled(1_000), scaled(10_000), 10]

const data = target('data', [slices * sizeOfSlice], (size) =>
  Array.from({ length: size }, (_, at) => at),
)
/** One target of data, and 500 that each take a slice of it. */
export const d501 = Array.from({ length: slices }, (_, at) =>
  target(`slice${at}`, [data, at * sizeOfSlice], (all, from) =>
    all.slice(from, from + sizeOfSlice).reduce((sum, each) => sum + each, 0),
  ),
)

const links: Target<number>[] = []
for (let at = 0; at < chained; at++) {
  const before = links.at(-1)
  links.push(target(`link${at}`, before ? [before] : [0], (value) => value + 1))
}
/** The last one of a chain of 1,000. */
export const c1000 = links.slice(-1)

const leaves = Array.from({ length: wide }, (_, at) => target(`leaf${at}`, [at], (value) => value))
/** 10,000, and one that joins them. */
export const w10k = [
  target('join', [leaves], (values) => values.reduce((sum, each) => sum + each, 0)),
]

export const sizes = { d501: slices + 1, c1000: chained, w10k: wide + 1 } as const
