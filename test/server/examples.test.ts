/** The examples of the rfcs. Those of one page run in order, against a new store: exchanges over HTTP, and frames
 *  on one websocket. See rfc/1, rule 10. */

import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toJson } from '../../src/wire/bytes.js'
import { type ResponseFrame, subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { encodeMessage } from '../../src/wire/messages.js'
import { fromJson } from '../wire/from-json.js'
import { Peer } from './peer.js'
import { Serving } from './serving.js'

type Block = { readonly kind: string; readonly lines: readonly string[] }

const directory = new URL('../../rfc/', import.meta.url)
const pages = readdirSync(directory)
  .map((name) => ({ name, blocks: blocksOf(readFileSync(new URL(name, directory), 'utf8')) }))
  .map(({ name, blocks }) => ({
    name,
    blocks,
    live: blocks.filter(({ kind }) => kind === 'http' || kind === 'frames'),
  }))

describe.each(pages.filter(({ live }) => live.length > 0))('$name', ({ live }) => {
  let serving: Serving
  let peer: Peer | undefined
  /** What `ID` stands for: the id in the last answer that had one. */
  let id = 'ID'

  beforeAll(async () => {
    serving = await Serving.start()
  })
  afterAll(async () => {
    await peer?.[Symbol.asyncDispose]()
    await serving[Symbol.asyncDispose]()
  })

  it.each(live.map((block, index) => [index, block.lines[0], block] as const))(
    '%i: %s',
    async (_index, _line, { kind, lines }) => {
      if (kind === 'http') await exchange(lines)
      else await converse(lines)
    },
  )

  async function exchange(lines: readonly string[]): Promise<void> {
    const arrow = lines.findIndex((line) => line.startsWith('→'))
    const asked = parseMessage(lines.slice(0, arrow))
    const [method = '', path = ''] = asked.first.split(' ')
    const headers = { 'content-type': 'application/octet-stream', ...asked.headers }
    const body = asked.body === '' ? {} : { body: asked.body }
    const answer = await serving.ask(method, path.replace('ID', id), { headers, ...body })
    const expected = parseMessage(lines.slice(arrow))
    expect(`→ ${answer.status}`).toBe(expected.first)
    for (const [name, value] of Object.entries(expected.headers)) {
      expect(answer.headers[name], name).toEqual(pattern(value))
    }
    const got = answer.body.toString().trimEnd()
    if (!expected.body.startsWith('{')) {
      expect(got).toEqual(pattern(expected.body))
      return
    }
    const answered: readonly { readonly id?: string }[] = parseLines(got)
    expect(answered).toEqual(pattern(parseLines(expected.body)))
    id = answered[0]?.id ?? id
  }

  async function converse(lines: readonly string[]): Promise<void> {
    peer ??= await Peer.connect(serving, { protocol: subprotocolJson })
    for (let at = 0; at < lines.length; ) {
      peer.send(JSON.parse((lines[at++] ?? '').slice(2)))
      const expected: ResponseFrame[] = []
      for (; lines[at]?.startsWith('←'); at++) expected.push(JSON.parse((lines[at] ?? '').slice(2)))
      const came: ResponseFrame[] = []
      while (came.length < expected.length) came.push(toJson(await peer.next()) as ResponseFrame)
      expect(byId(came)).toEqual(pattern(byId(expected)))
    }
    // Nothing else came.
    peer.send({ id: 99, op: 'root' })
    expect(await peer.next()).toMatchObject({ id: 99 })
  }
})

describe('rfc/12', () => {
  const blocks = pages.find(({ name }) => name.startsWith('12-'))?.blocks ?? []

  it('has examples', () => {
    expect(blocks.filter(({ kind }) => kind === 'http').length).toBeGreaterThan(10)
  })

  it('golden frames', () => {
    const lines = blocks.filter(({ kind }) => kind === 'golden').flatMap((block) => block.lines)
    expect(lines.length).toBe(4)
    for (let at = 0; at < lines.length; at += 2) {
      const frame = fromJson(JSON.parse(lines[at] ?? '')) as never
      const bytes = Buffer.from(encodeMessage(frame, subprotocol) as Uint8Array)
      expect(bytes.toString('hex')).toBe(lines[at + 1])
    }
  })
})

/** The fenced blocks of a page, without the indentation that a rule gives them. */
function blocksOf(text: string): readonly Block[] {
  return [...text.matchAll(/^( *)```([a-z]+)\n([\s\S]*?)^ *```$/gm)].map(
    ([, indent = '', kind = '', body = '']) => ({
      kind,
      lines: body
        .trimEnd()
        .split('\n')
        .map((line) => line.slice(indent.length)),
    }),
  )
}

/** Frames of different ids may overtake each other; those of one id may not. */
function byId(frames: readonly ResponseFrame[]): readonly ResponseFrame[] {
  return [...frames].sort((a, b) => a.id - b.id)
}

function parseLines(text: string): readonly { readonly id?: string }[] {
  return text.split('\n').map((line) => JSON.parse(line))
}

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
  if (typeof value === 'string' && value.includes('…')) {
    const parts = value.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return expect.stringMatching(new RegExp(`^${parts.join('.*')}$`))
  }
  if (Array.isArray(value)) return value.map(pattern)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, pattern(field)]))
}
