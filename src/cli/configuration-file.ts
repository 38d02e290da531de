/** The configuration file of a server: finds the values of declared options in YAML, and the place of
 *  each mistake. The only import of yaml. See rfc/30, rules 4, 7 and 8.
 *  Invariant: nothing in the file is expanded or evaluated. All mistakes are found, not the first one
 *  alone, and each has a line and a column. */

import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, isAbsolute, resolve } from 'node:path'
import {
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Scalar,
  visit,
} from 'yaml'
import { assertObeyedStats } from '../base/own.js'
import { hasSystemCode, isCode, reasonOf } from '../error.js'
import { ConfigurationError, type Option, type Options, UsageError } from './command.js'
import { nearest } from './nearest.js'

/** The largest file, in bytes. */
export const fileSizeMax = 64 * 1024
/** The largest number of mistakes that are told. */
export const problemsMax = 100

/** A place in a file, counted from 1. */
type Position = { readonly line: number; readonly column: number }

/** The value of an option, in the form in which the argument parser gives it. */
export type FoundValue = {
  readonly found: string | boolean | readonly string[]
  readonly position: Position
}

/** A mistake in a file. */
export type FileProblem = Position & { readonly message: string }

/** The content of a configuration file. */
export type ParsedFile = {
  /** Values by the declared names of their options. */
  readonly values: ReadonlyMap<string, FoundValue>
  /** The names of options whose fields are there, and wrong. */
  readonly wrong: ReadonlySet<string>
  /** Mistakes in the order of their lines. */
  readonly problems: readonly FileProblem[]
}

/** Reads a file, and parses it by the declarations of options. Undefined where there is none, if it
 *  `mayBeMissing`. Throws ConfigurationError (it is missing, no file, or too large), EPERM (others may
 *  write it). */
export async function readConfigurationFile(
  path: string,
  options: Options,
  { mayBeMissing }: { readonly mayBeMissing: boolean },
): Promise<ParsedFile | undefined> {
  const bytes = await readWhole(path).catch((cause: unknown) => {
    if (mayBeMissing && hasSystemCode(cause, 'ENOENT')) return undefined
    if (cause instanceof ConfigurationError || isCode(cause, 'EPERM')) throw cause
    throw new ConfigurationError([`${path}: cannot be read: ${reasonOf(cause)}`])
  })
  return bytes && parseConfiguration(bytes, dirname(path), options)
}

async function readWhole(path: string): Promise<Buffer> {
  // A named pipe would block.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const there = await file.stat()
  assertObeyedStats(path, there)
  if (!there.isFile()) throw new ConfigurationError([`${path}: is not a file`])
  if (there.size > fileSizeMax)
    throw new ConfigurationError([`${path}: has more than ${fileSizeMax} bytes`])
  return await file.readFile()
}

/** Parses the bytes of a file. Paths in it that are relative begin at `directory`. */
export function parseConfiguration(bytes: Buffer, directory: string, options: Options): ParsedFile {
  const line = lineThatIsNotUtf8(bytes)
  if (line !== undefined) {
    const problems = [{ line, column: 1, message: 'this is not UTF-8' }]
    return { values: new Map(), wrong: new Set(), problems }
  }
  return new FileReader(bytes.toString('utf8'), directory, options).read()
}

function lineThatIsNotUtf8(bytes: Buffer): number | undefined {
  if (isUtf8(bytes)) return undefined
  // No byte of a longer character is a newline.
  const lines = bytes.toString('latin1').split('\n')
  return lines.findIndex((text) => !isUtf8(Buffer.from(text, 'latin1'))) + 1
}

/** A field, or the fields of a group by their names. */
type Declared = string | ReadonlyMap<string, string>

/** Reads one file. */
class FileReader {
  readonly #text: string
  readonly #directory: string
  readonly #options: Options
  /** The names of options by fields. */
  readonly #declared: ReadonlyMap<string, Declared>
  readonly #lines = new LineCounter()
  readonly #values = new Map<string, FoundValue>()
  readonly #wrong = new Set<string>()
  readonly #problems: FileProblem[] = []

  constructor(text: string, directory: string, options: Options) {
    this.#text = text
    this.#directory = directory
    this.#options = options
    this.#declared = declaredFields(options)
  }

  read(): ParsedFile {
    const document = parseDocument(this.#text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      version: '1.2',
      schema: 'core',
      logLevel: 'error',
    })
    for (const { code, pos, message } of [...document.errors, ...document.warnings]) {
      const [name] = /^[^\s:]+/.exec(this.#text.slice(pos[0], pos[0] + quoteMax)) ?? []
      const isTwice = code === 'DUPLICATE_KEY' && name !== undefined
      this.#tellAt(pos[0], isTwice ? `${name}: is given twice` : firstLower(message))
    }
    visit(document, {
      Node: (_, node) => {
        const mark = 'anchor' in node && node.anchor ? `&${node.anchor}` : undefined
        if (mark) this.#tell(node, `an anchor (${mark}) is not taken here`)
      },
      Alias: (_, node) => {
        this.#tell(node, `an alias (*${node.source}) is not taken here: write the value itself`)
      },
    })
    const { contents } = document
    if (contents && !isNothing(contents)) this.#readMap(contents, this.#declared, '')
    return { values: this.#values, wrong: this.#wrong, problems: this.#inOrder() }
  }

  #readMap(node: Node, declared: ReadonlyMap<string, Declared>, path: string): void {
    const names = [...declared.keys()]
    if (!isMap<unknown, Node | null>(node)) {
      const what = path === '' ? 'the file' : path.slice(0, -1)
      this.#tell(node, `${what}: takes fields (${names.join(', ')}), not ${described(node)}`)
      return
    }
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : undefined
      const at = isNode(key) ? key : node
      if (name === undefined) {
        this.#tell(at, 'the name of a field is a text')
        continue
      }
      const field = `${path}${name}`
      const found = declared.get(name)
      if (found === undefined) this.#tell(at, `${field}: no such field${this.#hint(name, field)}`)
      else if (!value || isNothing(value)) {
        this.#tell(at, `${field}: has no value: give it one, or remove the line`)
      } else if (typeof found === 'string') this.#readField(found, field, at, value)
      else this.#readMap(value, found, `${field}.`)
    }
  }

  /** Returns what may have been meant by a name that is not known. */
  #hint(name: string, field: string): string {
    const all = Object.values(this.#options).flatMap(({ configured }) => configured?.field ?? [])
    const near = nearest(field, all) ?? nearest(field.replaceAll('-', '.'), all)
    if (near !== undefined) return `: is it ${near}?`
    const last = nearest(
      name,
      all.map((one) => one.split('.').at(-1) ?? one),
    )
    const meant = all.find((one) => last !== undefined && one.split('.').at(-1) === last)
    return meant === undefined ? `: there are ${all.join(', ')}` : `: is it ${meant}?`
  }

  #readField(name: string, field: string, key: Node, value: Node): void {
    const option = this.#options[name]
    if (!option) return
    const before = this.#problems.length
    const found = option.many
      ? this.#listOf(option, field, value)
      : this.#valueOf(option, field, value)
    if (found === undefined || this.#problems.length > before) {
      this.#wrong.add(name)
      return
    }
    this.#values.set(name, { found, position: this.#positionOf(key) })
  }

  #listOf(option: Option<unknown, string>, field: string, value: Node): string[] | undefined {
    if (!isSeq<Node | null>(value)) {
      this.#tell(value, `${field}: takes a list, not ${described(value)}`)
      return undefined
    }
    return value.items.flatMap((item, index) => {
      const what = `${field}[${index}]`
      if (!item || isNothing(item)) {
        this.#tell(item ?? value, `${what}: has no value`)
        return []
      }
      const text = this.#textOf(option, what, item)
      if (text === undefined) return []
      this.#check(item, () => option.read([text], `${what}:`))
      return [text]
    })
  }

  #valueOf(
    option: Option<unknown, string>,
    field: string,
    value: Node,
  ): string | boolean | undefined {
    const { takes } = option
    if (isScalar(value) && typeof value.value === 'boolean' && takes !== 'value') return value.value
    if (takes === 'nothing') {
      this.#tell(value, `${field}: takes true or false, not ${described(value)}`)
      return undefined
    }
    const text = this.#textOf(option, field, value)
    if (text !== undefined) this.#check(value, () => option.read(text, `${field}:`))
    return text
  }

  /** Returns the text of a scalar of a kind that the option takes. */
  #textOf(option: Option<unknown, string>, what: string, value: Node): string | undefined {
    const { scalars } = option
    const kind = isScalar(value) ? typeof value.value : undefined
    if (isScalar(value) && scalars.some((one) => one === kind)) {
      const text = kind === 'string' ? String(value.value) : (value.source ?? String(value.value))
      if (!option.isPath) return text
      if (!text.startsWith('~')) {
        return isAbsolute(text) ? resolve(text) : resolve(this.#directory, text)
      }
      this.#tell(value, `${what}: "~" is not expanded: write the path from / on`)
      return undefined
    }
    const wanted = scalars.includes('string') ? 'a text' : 'a number'
    const quote = kind === 'number' || kind === 'boolean' ? ' (a text may stand in quotes)' : ''
    const hint = wanted === 'a text' ? quote : ''
    this.#tell(value, `${what}: takes ${wanted}, not ${described(value)}${hint}`)
    return undefined
  }

  #check(node: Node, read: () => unknown): void {
    try {
      read()
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      this.#tell(node, error.message)
    }
  }

  #positionOf(node: Node): Position {
    return this.#positionAt(node.range?.[0] ?? 0)
  }

  #positionAt(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }

  #tell(node: Node, message: string): void {
    this.#problems.push({ ...this.#positionOf(node), message })
  }

  #tellAt(offset: number, message: string): void {
    this.#problems.push({ ...this.#positionAt(offset), message })
  }

  /** Returns the problems in the order of their lines, one for each place: what is no YAML is read as
   *  something else, which brings further problems. */
  #inOrder(): FileProblem[] {
    const seen = new Set<string>()
    const all = this.#problems.filter(({ line, column }) => {
      const place = `${line}:${column}`
      return !seen.has(place) && seen.add(place)
    })
    return all.sort((a, b) => a.line - b.line || a.column - b.column)
  }
}

function declaredFields(options: Options): ReadonlyMap<string, Declared> {
  const fields = new Map<string, string | Map<string, string>>()
  for (const [name, { configured }] of Object.entries(options)) {
    if (!configured) continue
    const [first = '', second] = configured.field.split('.')
    const group = fields.get(first)
    if (second === undefined) fields.set(first, name)
    else if (group instanceof Map) group.set(second, name)
    else fields.set(first, new Map([[second, name]]))
  }
  return fields
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'range' in value
}

/** True for a value that was left out, and for `null` and `~`. */
function isNothing(node: Node): boolean {
  return isScalar(node) && node.value === null
}

function described(node: Node): string {
  if (isSeq(node)) return 'a list'
  if (isMap(node)) return 'fields'
  if (!isScalar(node)) return 'an alias'
  return scalarText(node)
}

/** The longest text of a file that a message quotes, in UTF-16 units. */
const quoteMax = 80

function scalarText({ value, source }: Scalar): string {
  const text = source ?? String(value)
  const short = text.length > quoteMax ? `${text.slice(0, quoteMax).toWellFormed()}…` : text
  return typeof value === 'string' ? `"${short}"` : short
}

/** Writes a message of the library as the second part of a line. */
function firstLower(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1)
}
