// pipeline.mjs: measurements are fetched, cleaned and split, lines are fitted to them, and the errors of these reported
import { map, target } from 'tailrace/flow'

export const raw = target('fetch', [200], (count) => // made up: about 3x + 2, and some are missing
  Array.from({ length: count }, (_, at) => ({ x: at / 10, y: at % 17 === 0 ? null : 0.3 * at + 2 + Math.sin(at * at) })))
export const clean = target('clean', [raw], (rows) => rows.flatMap(({ x, y }) => (y === null ? [] : [{ x, y }])))
export const parts = target('split', [clean], (rows) => {
  return { known: rows.filter((_, at) => at % 4 !== 0), held: rows.filter((_, at) => at % 4 === 0) }
})
const penalties = target('penalties', [], () => [0, 100, 10_000])
export const models = map('train', [penalties, parts], (penalty, { known }) => { // a call for each penalty
  const meanX = known.reduce((sum, { x }) => sum + x, 0) / known.length
  const meanY = known.reduce((sum, { y }) => sum + y, 0) / known.length
  const both = known.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0)
  const slope = both / (known.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0) + penalty)
  return { penalty, slope, start: meanY - slope * meanX }
})
export const report = target('report', [models, parts], (fitted, { held }) => {
  for (const { penalty, slope, start } of fitted) {
    const error = held.reduce((sum, { x, y }) => sum + (y - start - slope * x) ** 2, 0) / held.length
    console.log(`penalty ${penalty}: slope ${slope.toFixed(2)}, error ${error.toFixed(2)}`)
  }
  return fitted.length
})
