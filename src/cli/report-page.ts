/** The page of a report: one HTML document that asks no other host for anything. See rfc/26, rule 14.
 *  Invariant: what a run tells stands in one block of JSON, in which no `<` is left, and gets into the
 *  page as text only. The policy of the page allows its own script and style, by their hashes, and
 *  nothing else. */

import { createHash } from 'node:crypto'
import type { RunStatus, TargetState } from '../api/flow-look.js'
import type { ReportCall } from './report-calls.js'
import { reportScript, reportStyle } from './report-script.js'

/** A target of a report, and where it stands. */
export type ReportNode = {
  readonly name: string
  readonly state: TargetState
  readonly sources: readonly number[]
  /** The time that it took, in ms. */
  readonly ms?: number
  readonly x: number
  readonly y: number
}

export type RunReport = {
  readonly status: Omit<RunStatus, 'targets'>
  readonly calls: readonly ReportCall[]
  /** The targets; none if the graph is not kept, or too large to be drawn. */
  readonly nodes: readonly ReportNode[]
  /** The places of the targets of the longest path of what was made. */
  readonly path: readonly number[]
  /** Sentences about what is left out. */
  readonly notes: readonly string[]
}

/** Returns the page. */
export function reportPage(report: RunReport): string {
  const data = JSON.stringify(report).replaceAll('<', '\\u003c')
  const policy = `default-src 'none'; base-uri 'none'; form-action 'none'; script-src ${hashOf(reportScript)}; style-src ${hashOf(reportStyle)}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Run of a flow</title>
<style>${reportStyle}</style>
</head>
<body>
<h1 id="run"></h1>
<p id="facts"></p>
<ul id="notes"></ul>
<section id="failed"><h2>Failures</h2><table id="failures"></table></section>
<section id="timed"><h2>Timeline</h2><p>Drag to move, turn the wheel to zoom. Each lane has one call at a time; pale parts load and open inputs, or pack results.</p><canvas id="timeline"></canvas><output id="atTimeline"></output></section>
<section id="drawn"><h2>Graph</h2><p>Framed: the longest path.</p><canvas id="graph"></canvas><output id="atGraph"></output></section>
<section id="pathed"><h2>Longest path</h2><table id="path"></table></section>
<section><h2>Targets</h2><p><label>Find <input id="find" type="search"></label> <span id="shown"></span></p><table id="targets"></table></section>
<script type="application/json" id="data">${data}</script>
<script>${reportScript}</script>
</body>
</html>
`
}

/** Returns the source of a policy for a text that stands in the page. */
function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}
