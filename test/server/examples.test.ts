/** The examples of rfc/12, run in order against a new store. */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fromJson, toJson } from '../../src/wire/bytes.js'
import { subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { encodeMessage } from '../../src/wire/messages.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

const text = readFileSync(new URL('../../rfc/12-protocol.md', import.meta.url), 'utf8')
const blocks = [...text.matchAll(/```(http|frames|golden)\n([\s\S]*?)```/g)].map((match) => ({
  kind: match[1],
  lines: (match[2] ?? '').trimEnd().split('\n'),
}))
const exchanges = blocks.filter(({ kind }) => kind === 'http').map(({ lines }) => lines)
const linesOf = (kind: string) =>
  blocks.filter((block) => block.kind === kind).flatMap(({ lines }) => lines)

let serving: Serving

beforeAll(async () => {
  serving = await Serving.start()
})
afterAll(() => serving[Symbol.asyncDispose]())

describe('rfc/12', () => {
  it('has examples', () => {
    expect(exchanges.length).toBeGreaterThan(10)
  })

  it.each(exchanges.map((lines, index) => [index, lines[0], lines] as const))(
    '%i: %s',
    async (_i, _line, lines) => {
      const arrow = lines.findIndex((line) => line.startsWith('→'))
      const asked = parseMessage(lines.slice(0, arrow))
      const [method = '', path = ''] = asked.first.split(' ')
      const headers = { 'content-type': 'application/octet-stream', ...asked.headers }
      const body = asked.body === '' ? undefined : asked.body
      const answer = await serving.ask(method, path, body === undefined ? {} : { headers, body })
      const expected = parseMessage(lines.slice(arrow))
      expect(`→ ${answer.status}`).toBe(expected.first)
      for (const [name, value] of Object.entries(expected.headers)) {
        expect(answer.headers[name], name).toBe(value)
      }
      const got = answer.body.toString().trimEnd()
      if (!expected.body.startsWith('{')) expect(got).toBe(expected.body)
      else expect(JSON.parse(got)).toEqual(pattern(JSON.parse(expected.body)))
    },
  )

  it('frames', async () => {
    await using peer = await Peer.connect(serving, { protocol: subprotocolJson })
    for (const line of linesOf('frames')) {
      const frame = JSON.parse(line.slice(2))
      if (line.startsWith('→')) peer.send(frame)
      else expect(toJson(await peer.next())).toEqual(pattern(frame))
    }
    peer.send({ id: 99, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 99 })
  })

  it('golden frames', () => {
    const lines = linesOf('golden')
    expect(lines.length).toBe(4)
    for (let at = 0; at < lines.length; at += 2) {
      const frame = fromJson(JSON.parse(lines[at] ?? '')) as never
      const bytes = Buffer.from(encodeMessage(frame, subprotocol) as Uint8Array)
      expect(bytes.toString('hex')).toBe(lines[at + 1])
    }
  })
})

type Message = {
  readonly first: string
  readonly headers: Record<string, string>
  readonly body: string
}

/** A first line, headers, and the body: behind an empty line, or behind the last header. */
function parseMessage(lines: readonly string[]): Message {
  const headers: Record<string, string> = {}
  let at = 1
  for (; at < lines.length; at++) {
    const match = /^([A-Z][A-Za-z-]+): (.*)$/.exec(lines[at] ?? '')
    if (!match) break
    headers[(match[1] ?? '').toLowerCase()] = match[2] ?? ''
  }
  if (lines[at] === '') at++
  return { first: lines[0] ?? '', headers, body: lines.slice(at).join('\n') }
}

/** `…` alone is anything, within text any text. */
function pattern(value: unknown): unknown {
  if (value === '…') return expect.anything()
  if (typeof value === 'string' && value.endsWith('…')) {
    return expect.stringMatching(new RegExp(`^${value.slice(0, -1)}`))
  }
  if (Array.isArray(value)) return value.map(pattern)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, pattern(field)]))
}
