/** The page of a report, opened in a browser. See rfc/26, rule 14. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { longestPath } from '../../src/cli/flow-report.js'
import { layout } from '../../src/cli/graph-layout.js'
import { CallGatherer } from '../../src/cli/report-calls.js'
import { type ReportNode, type RunReport, reportPage } from '../../src/cli/report-page.js'
import { BrowserPage, needBrowser } from '../support/browser.js'

/** A graph of `count` targets in 50 layers, each with two inputs of the layer before it. */
function nodesOf(count: number): readonly ReportNode[] {
  const wide = count / 50
  const sources = Array.from({ length: count }, (_, at) => {
    if (at < wide) return []
    const layer = Math.floor(at / wide - 1) * wide
    return [...new Set([layer + ((at * 7) % wide), layer + ((at * 31) % wide)])]
  })
  const places = layout(sources.map((each) => ({ sources: each })))
  return sources.map((each, at) => ({
    ...{
      name: `target_${at}`,
      state: at % 97 === 0 ? 'failed' : 'made',
      sources: each,
      ms: at % 50,
    },
    ...{ x: places[at]?.x ?? 0, y: places[at]?.y ?? 0 },
  }))
}

const wicked = '</script><img src=x onerror="document.title=1"><!--<script>alert(1)</script>'

function reportOf(nodes: readonly ReportNode[]): RunReport {
  const calls = nodes.map(({ name }, at) => ({
    ...{ target: name, lane: at % 8, from: at * 10, to: at * 10 + 80, state: 'made' as const },
    ...(at % 2 === 0 && { parts: [5, 5, 60, 10] as const }),
  }))
  const counts = { made: 1, found: 0, failed: 1, skipped: 0, running: 0, waiting: 0 }
  const failures = [{ target: nodes[0]?.name ?? '', message: wicked }]
  return {
    status: {
      ...{ run: 'r00000000000000a', state: 'failed', at: 0, ms: 50_080, counts, runs: [] },
      ...{ failures, path: [], failed: wicked },
    },
    ...{ calls, nodes, path: longestPath(nodes), notes: [wicked] },
  }
}

it('opens with 5,000 targets without a complaint or a request, takes no HTML from a run, and stays responsive', async (context) => {
  needBrowser(context, 'the page of a report')
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-report-'))
  try {
    const file = join(directory, 'run.html')
    const html = reportPage(reportOf(nodesOf(5_000)))
    expect(html.match(/<script/g)?.length).toBe(2)
    await writeFile(file, html)
    const url = pathToFileURL(file).href
    await using page = await BrowserPage.open(url)
    await expect.poll(() => page.evaluate('document.body?.dataset.ready')).toBe('true')
    expect(await page.evaluate('document.title')).toBe('Run r00000000000000a: failed')
    expect(await page.evaluate('document.querySelectorAll("img, script:not([id])").length')).toBe(1)
    expect(await page.evaluate('document.querySelector("#failures td + td").textContent')).toBe(
      wicked,
    )
    expect(await page.evaluate('document.querySelectorAll("#targets tr").length')).toBe(200)
    // Both pictures have something drawn.
    const colors = (id: string) =>
      page.evaluate(`(() => {
        const { width, height } = ${id}
        return new Set(new Uint32Array(${id}.getContext('2d').getImageData(0, 0, width, height).data.buffer)).size
      })()`)
    expect(await colors('graph')).toBeGreaterThan(2)
    expect(await colors('timeline')).toBeGreaterThan(2)
    // The longest of ten moves, with all that the page draws for each.
    const longest = await page.evaluate(`(async () => {
      let longest = 0
      for (let at = 0; at < 10; at++) {
        const began = performance.now()
        for (const canvas of [graph, timeline]) canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: at < 5 ? 40 : -40, cancelable: true }))
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
        longest = Math.max(longest, performance.now() - began)
      }
      return longest
    })()`)
    expect(longest).toBeLessThan(1_000)
    const found = `(() => {
      const input = document.getElementById('find')
      input.value = 'target_4999'
      input.dispatchEvent(new Event('input'))
      return shown.textContent
    })()`
    expect(await page.evaluate(found)).toBe('1 of 1, the longest first')
    expect(page.complaints).toEqual([])
    expect(page.addresses.filter((each) => each !== url && !each.startsWith('data:'))).toEqual([])
  } finally {
    await rm(directory, { recursive: true })
  }
})

it('a target stands to the right of all that it depends on, whatever the graph', () => {
  const anyNodes = fc.array(fc.array(fc.nat(), { maxLength: 3 }), { maxLength: 25 }).map((all) =>
    all.map((links, at) => ({
      sources: at === 0 ? [] : [...new Set(links.map((link) => link % at))],
    })),
  )
  fc.assert(
    fc.property(anyNodes, (nodes) => {
      const places = layout(nodes)
      expect(places.length).toBe(nodes.length)
      for (const [at, { sources }] of nodes.entries()) {
        for (const source of sources) {
          expect(places[source]?.x).toBeLessThan(places[at]?.x ?? Number.NaN)
        }
      }
      expect(new Set(places.map(({ x, y }) => `${x} ${y}`)).size).toBe(nodes.length)
    }),
    { numRuns: 50 },
  )
})

it('a graph whose links span too many layers is laid out all the same', () => {
  const nodes = Array.from({ length: 1_000 }, (_, at) => ({
    sources: at === 0 ? [] : [...new Set([0, at - 1])],
  }))
  const places = layout(nodes)
  expect(places.at(-1)).toEqual({ x: 999 * 160, y: 0 })
})

it('the calls of a log stand in lanes that do not overlap, with the parts that a worker told', () => {
  const gatherer = new CallGatherer()
  const say = (timestamp: number, name: string, target: string, more = {}) =>
    gatherer.take({ timestamp, name, context: { target, ...more } })
  gatherer.take({ timestamp: 1, name: 'begin', context: {} })
  say(1, 'start', 'a')
  say(2, 'start', 'b')
  say(3, 'lost', 'a')
  say(3, 'start', 'a')
  say(4, 'finish', 'a', {
    ms: 900,
    call: { worker: 1, fetchMs: 1, unpackMs: 2, runMs: 3, packMs: 4 },
  })
  say(5, 'fail', 'b', { error: 'no' })
  expect(gatherer.calls).toEqual([
    { target: 'a', lane: 0, from: 0, to: 2_000, state: 'lost' },
    { target: 'a', lane: 0, from: 2_000, to: 3_000, state: 'made', parts: [1, 2, 3, 4] },
    { target: 'b', lane: 1, from: 1_000, to: 4_000, state: 'failed' },
  ])
  expect([...gatherer.ms]).toEqual([['a', 900]])
})
