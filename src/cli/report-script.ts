/** The style and the script of the page of a report, which run in a browser. See rfc/26, rule 14.
 *  Invariant: text of a run becomes text nodes, and pixels; the script makes no HTML of it. It draws when
 *  somebody moves the view, and what is in sight only. */

export const reportStyle = `
body { font: 14px system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff }
h1 { font-size: 1.3em } h2 { font-size: 1.1em; margin-bottom: .3em } p { margin: .3em 0 }
canvas { width: 100%; height: 360px; border: 1px solid #ccc; touch-action: none; cursor: grab }
#graph { height: 520px }
output { display: block; min-height: 1.4em; white-space: pre }
table { border-collapse: collapse } td { padding: .1em 1em .1em 0; vertical-align: top; white-space: pre-wrap }
.failed { color: #b00020 } .made { color: #1b6e3c } .found { color: #555 } .skipped { color: #8a6d00 } .running { color: #1a56b0 }
`

export const reportScript = `
'use strict'
const data = JSON.parse(document.getElementById('data').textContent)
const byId = (id) => document.getElementById(id)
const colors = { made: '#4caf7a', found: '#b8c4cc', failed: '#d9534f', skipped: '#e0c35c', running: '#5b8def', waiting: '#eeeeee', lost: '#c77dff' }
const timeText = (ms) => ms < 1000 ? Math.round(ms) + ' ms' : (ms / 1000).toFixed(1) + ' s'
function addRow(table, cells, state) {
  const row = table.insertRow()
  for (const cell of cells) row.insertCell().textContent = cell
  if (state in colors) row.className = state
}
const { status, calls, nodes, path, notes } = data
byId('run').textContent = 'Run ' + status.run + ': ' + status.state
document.title = byId('run').textContent
const counts = Object.entries(status.counts).filter(([, count]) => count > 0).map(([name, count]) => count + ' ' + name)
const predicted = status.predictedMs === undefined ? '' : ' Predicted: ' + timeText(status.predictedMs) + '.'
byId('facts').textContent = new Date(status.at).toISOString() + ', ' + timeText(status.ms) + ': ' + counts.join(', ') + '.' + predicted
for (const note of notes) byId('notes').appendChild(document.createElement('li')).textContent = note
for (const { target, message, output = '' } of status.failures) addRow(byId('failures'), [target, message, output], 'failed')
byId('failed').hidden = status.failures.length === 0
const onPath = new Set(path)
for (const place of path) addRow(byId('path'), [nodes[place].name, timeText(nodes[place].ms || 0)])
byId('pathed').hidden = path.length === 0

/* A canvas whose picture is moved and zoomed. draw(context, view) draws what view shows; find(x, y) tells a text. */
function makeView(canvas, output, { draw, find, width, height, zoomsBoth }) {
  const context = canvas.getContext('2d')
  const view = { x: 0, y: 0, scaleX: 1, scaleY: 1, width: 0, height: 0 }
  let isDue = false
  const paint = () => {
    isDue = false
    const ratio = window.devicePixelRatio || 1
    const [wide, high] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)]
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high })
    view.width = canvas.clientWidth
    view.height = canvas.clientHeight
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, view.width, view.height)
    draw(context, view)
  }
  const due = () => {
    if (!isDue) requestAnimationFrame(paint)
    isDue = true
  }
  view.scaleX = canvas.clientWidth / Math.max(1, width)
  if (zoomsBoth) view.scaleX = view.scaleY = Math.min(1, view.scaleX, canvas.clientHeight / Math.max(1, height))
  let held
  canvas.addEventListener('pointerdown', (event) => {
    held = event
    canvas.setPointerCapture(event.pointerId)
  })
  canvas.addEventListener('pointerup', () => { held = undefined })
  canvas.addEventListener('pointermove', (event) => {
    if (held) {
      view.x -= (event.clientX - held.clientX) / view.scaleX
      view.y -= (event.clientY - held.clientY) / view.scaleY
      held = event
      due()
    }
    output.textContent = find(view.x + event.offsetX / view.scaleX, view.y + event.offsetY / view.scaleY) || ''
  })
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault()
    const by = Math.exp(-event.deltaY / 400)
    const [x, y] = [event.offsetX, event.offsetY]
    view.x += x / view.scaleX - x / (view.scaleX * by)
    view.scaleX *= by
    if (zoomsBoth) {
      view.y += y / view.scaleY - y / (view.scaleY * by)
      view.scaleY *= by
    }
    due()
  }, { passive: false })
  window.addEventListener('resize', due)
  paint()
}

const laneHeight = 20
byId('timed').hidden = calls.length === 0
if (calls.length > 0) {
  const callText = ({ target, state, from, to, parts }) => target + '  ' + state + '  ' + timeText(to - from) +
    (parts ? '  (load ' + timeText(parts[0]) + ', open ' + timeText(parts[1]) + ', run ' + timeText(parts[2]) + ', pack ' + timeText(parts[3]) + ')' : '')
  makeView(byId('timeline'), byId('atTimeline'), {
    width: Math.max(1, ...calls.map(({ to }) => to)), height: 0, zoomsBoth: false,
    draw: (context, view) => {
      for (const call of calls) {
        const [left, right] = [(call.from - view.x) * view.scaleX, (call.to - view.x) * view.scaleX]
        const top = call.lane * laneHeight - view.y
        if (right < 0 || left > view.width || top < -laneHeight || top > view.height) continue
        const wide = Math.max(1, right - left)
        context.fillStyle = colors[call.state]
        context.fillRect(left, top + 1, wide, laneHeight - 2)
        if (call.parts) {
          context.fillStyle = 'rgba(255, 255, 255, .6)'
          const before = Math.min(wide, (call.parts[0] + call.parts[1]) * view.scaleX)
          context.fillRect(left, top + 1, before, laneHeight - 2)
          const after = Math.min(wide - before, call.parts[3] * view.scaleX)
          context.fillRect(left + wide - after, top + 1, after, laneHeight - 2)
        }
        if (wide > 40) {
          context.fillStyle = '#111'
          context.fillText(call.target.slice(0, Math.floor(wide / 7)), Math.max(0, left) + 3, top + 14)
        }
      }
    },
    find: (x, y) => {
      const lane = Math.floor(y / laneHeight)
      const call = calls.find((each) => each.lane === lane && each.from <= x && x <= each.to)
      return call && callText(call)
    },
  })
}

const [nodeWidth, nodeTall] = [110, 18]
byId('drawn').hidden = nodes.length === 0
if (nodes.length > 0) {
  const edges = nodes.flatMap((node, place) => node.sources.map((source) => [nodes[source], node, onPath.has(source) && onPath.has(place)]))
  makeView(byId('graph'), byId('atGraph'), {
    width: Math.max(...nodes.map(({ x }) => x)) + nodeWidth, height: Math.max(...nodes.map(({ y }) => y)) + nodeTall, zoomsBoth: true,
    draw: (context, view) => {
      const [scale, right, bottom] = [view.scaleX, view.x + view.width / view.scaleX, view.y + view.height / view.scaleY]
      const line = (isPath) => {
        context.beginPath()
        for (const [from, to, isOn] of edges) {
          if (isOn !== isPath || to.x < view.x || from.x > right) continue
          if (Math.max(from.y, to.y) < view.y || Math.min(from.y, to.y) > bottom) continue
          context.moveTo((from.x + nodeWidth - view.x) * scale, (from.y + nodeTall / 2 - view.y) * scale)
          context.lineTo((to.x - view.x) * scale, (to.y + nodeTall / 2 - view.y) * scale)
        }
        context.strokeStyle = isPath ? '#b00020' : '#ccd3da'
        context.stroke()
      }
      line(false)
      line(true)
      nodes.forEach((node, place) => {
        if (node.x + nodeWidth < view.x || node.x > right || node.y + nodeTall < view.y || node.y > bottom) return
        const [left, top] = [(node.x - view.x) * scale, (node.y - view.y) * scale]
        context.fillStyle = colors[node.state]
        context.fillRect(left, top, nodeWidth * scale, nodeTall * scale)
        if (onPath.has(place)) {
          context.strokeStyle = '#b00020'
          context.strokeRect(left, top, nodeWidth * scale, nodeTall * scale)
        }
        if (scale > .5) {
          context.fillStyle = '#111'
          context.fillText(node.name.slice(0, Math.floor(nodeWidth * scale / 7)), left + 3, top + nodeTall * scale / 2 + 4)
        }
      })
    },
    find: (x, y) => {
      const node = nodes.find((each) => each.x <= x && x <= each.x + nodeWidth && each.y <= y && y <= each.y + nodeTall)
      return node && node.name + '  ' + node.state + (node.ms === undefined ? '' : '  ' + timeText(node.ms))
    },
  })
}

const rowsMax = 200
const byTime = [...nodes].sort((a, b) => (b.ms || 0) - (a.ms || 0))
function showTargets() {
  const table = byId('targets')
  table.replaceChildren()
  const found = byTime.filter(({ name, state }) => name.includes(byId('find').value) || state === byId('find').value)
  for (const { name, state, ms } of found.slice(0, rowsMax)) addRow(table, [name, state, ms === undefined ? '' : timeText(ms)], state)
  byId('shown').textContent = Math.min(rowsMax, found.length) + ' of ' + found.length + ', the longest first'
}
byId('find').addEventListener('input', showTargets)
showTargets()
document.body.dataset.ready = 'true'
`
