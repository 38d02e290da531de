/** The graph of a flow as data, as text and as a diagram. See rfc/24, rule 23. */

import { describe, expect, it } from 'vitest'
import { graphLines, graphOf, mermaidLines } from '../../src/flow/draw.js'
import { map, packed, target } from '../../src/flow/flow.js'
import { refusal } from '../kvs/expect.js'

const never = () => {
  throw new Error('a drawing calls no function')
}

/** A diamond whose one side has branches, and a target beside it whose name is a word of Mermaid. */
function flow() {
  const rows = target('rows', ['in.csv'], () => [never()])
  const clean = map('clean', [rows, { rows: packed(rows) }], never)
  const report = target('report', [[clean, clean], rows, 7], never)
  return [report, target('end', [], never)]
}

describe('graphOf', () => {
  it('tells each target once, after those that it depends on', async () => {
    expect(await graphOf(flow())).toEqual([
      { target: 'rows', hasBranches: false, inputs: [] },
      { target: 'clean', hasBranches: true, inputs: ['rows'] },
      { target: 'report', hasBranches: false, inputs: ['clean', 'rows'] },
      { target: 'end', hasBranches: false, inputs: [] },
    ])
  })

  it('refuses what is no target, and two targets of one name', async () => {
    const twice = [target('a', [], never), target('a', [], never)]
    for (const wrong of [{ a: 1 } as never, twice])
      expect((await refusal(graphOf(wrong))).code).toBe('EINVAL')
  })

  it('takes a chain of any length', async () => {
    let last = target('t0', [], never)
    for (let at = 1; at < 20_000; at++) last = target(`t${at}`, [last], never)
    const targets = await graphOf(last)
    expect(targets.length).toBe(20_000)
    expect(graphLines(targets).length).toBe(39_999)
  })
})

it('graphLines() draws the inputs of each target below it', async () => {
  expect(graphLines(await graphOf(flow())).join('\n')).toBe(`rows
clean[*]
  rows
report
  clean
  rows
end`)
})

describe('mermaidLines', () => {
  it('draws a flowchart whose nodes have numbers', async () => {
    expect(mermaidLines(await graphOf(flow())).join('\n')).toBe(`flowchart LR
  t0["rows"]
  t1[["clean"]]
  t2["report"]
  t3["end"]
  t0 --> t1
  t1 --> t2
  t0 --> t2`)
  })

  it('escapes what no name of a target has, and what Mermaid would read', () => {
    const targets = [{ target: 'a"b]#\n🙂', hasBranches: false, inputs: [] }]
    expect(mermaidLines(targets)).toEqual(['flowchart LR', '  t0["a#34;b#93;#35;#10;#128578;"]'])
  })
})
