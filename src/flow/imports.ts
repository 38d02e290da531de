/** The imports of a module, read from its source: JavaScript and TypeScript, with JSX or without. The
 *  only import of oxc-parser. See rfc/24, rule 12. Pure.
 *  Invariant: what stands in a comment, in a text, or in a type is no import. */

import { type ParseResult, parseSync, type Span } from 'oxc-parser'
import { invalid } from '../base/shape.js'

/** An import that is there when the module runs: types leave none. */
export type ModuleImport = {
  readonly specifier: string
  /** The line of the specifier, from 1. */
  readonly line: number
  /** True for `import()`, which may fail without a harm to the module. */
  readonly isLazy: boolean
}

/** A specifier, and its place in the source. */
type Found = Span & { readonly specifier: string; readonly isLazy: boolean }

/** Returns the imports of a module, in the order of the source, each statement and each `import()` of
 *  a literal. `path` says the language by its ending, and names the module in errors. Throws EINVAL
 *  (the source cannot be parsed, an `import()` of a literal with escapes). */
export function importsOf(path: string, source: string): ModuleImport[] {
  const syntax = parsed(path, source)
  const found = [...statements(syntax, source), ...lazyImports(syntax, source)]
  const lines = linesOf(source)
  return found
    .sort((a, b) => a.start - b.start)
    .map(({ specifier, start, isLazy }) => {
      const line = lines(start)
      if (isLazy && specifier.includes('\\')) {
        throw invalid(`${path}:${line}: write ${specifier} in import() without a backslash`)
      }
      return { specifier, line, isLazy }
    })
}

/** Yields the imports of statements: `import`, and `export … from`. */
function* statements(syntax: ParseResult, source: string): Generator<Found> {
  const { staticImports, staticExports } = syntax.module
  for (const { start, end, moduleRequest, entries } of staticImports) {
    const isType = isTypeStatement(source.slice(start, end)) && entries.every((one) => one.isType)
    if (!isType) yield { ...moduleRequest, specifier: moduleRequest.value, isLazy: false }
  }
  // An import that is exported again by another statement is in the record twice.
  const known = new Set(staticImports.map(({ start }) => start))
  for (const { start, end, entries } of staticExports) {
    const request = entries.find((one) => one.moduleRequest)?.moduleRequest
    if (!request || known.has(start) || isTypeStatement(source.slice(start, end))) continue
    yield { ...request, specifier: request.value, isLazy: false }
  }
  // The record of a module leaves out what exports nothing, and loads a module all the same.
  if (!exportsNothing.test(source)) return
  for (const node of syntax.program.body) {
    if (node.type !== 'ExportNamedDeclaration' || !node.source) continue
    if (node.specifiers.length > 0 || node.exportKind === 'type') continue
    yield { ...node.source, specifier: node.source.value, isLazy: false }
  }
}

/** Yields the `import()` of literals. Others cannot be seen; so says rule 13. */
function* lazyImports({ module }: ParseResult, source: string): Generator<Found> {
  for (const { moduleRequest } of module.dynamicImports) {
    const text = source.slice(moduleRequest.start, moduleRequest.end)
    const [, quote, specifier] = /^(['"`])((?:(?!\1)[^\\]|\\.)*)\1$/s.exec(text) ?? []
    if (specifier === undefined || (quote === '`' && specifier.includes('${'))) continue
    yield { ...moduleRequest, specifier, isLazy: true }
  }
}

/** Returns the syntax of a module; where it is none, that of a CommonJS file, which may return at its
 *  top. Throws EINVAL. */
function parsed(path: string, source: string): ParseResult {
  const asModule = parseSync(path, source, { sourceType: 'module' })
  const error = errorOf(asModule)
  if (!error) return asModule
  const asCommonJs = parseSync(path, source, { sourceType: 'commonjs' })
  if (!errorOf(asCommonJs)) return asCommonJs
  const line = linesOf(source)(error.labels[0]?.start ?? 0)
  throw invalid(`${path}:${line}: the imports of this file cannot be read: ${error.message}`)
}

function errorOf({ errors }: ParseResult): ParseResult['errors'][number] | undefined {
  return errors.find(({ severity }) => String(severity) === 'Error')
}

const blanks = String.raw`(?:\s|/\*[\s\S]*?\*/|//.*\n)*`
const typeStatement = new RegExp(`^(?:import|export)${blanks}type\\b`)
const exportsNothing = new RegExp(`\\bexport${blanks}(?:type${blanks})?{${blanks}}${blanks}from\\b`)

/** True if a statement of imports or exports begins with `import type` or `export type`. */
function isTypeStatement(statement: string): boolean {
  return typeStatement.test(statement)
}

/** Returns a function that gives the line of an offset, from 1, for offsets that grow. */
function linesOf(source: string): (offset: number) => number {
  let line = 1
  let at = source.indexOf('\n')
  return (offset) => {
    for (; at >= 0 && at < offset; at = source.indexOf('\n', at + 1)) line++
    return line
  }
}
