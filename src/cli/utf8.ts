/** Checks that arguments, variables and the directory are UTF-8. Node decodes them so, and puts
 *  U+FFFD in the place of other bytes, which can make one name of two. See rfc/13, rule 17.
 *  Invariant: a text that Node damaged never passes these checks; a U+FFFD that was typed does. */

import { isUtf8 } from 'node:buffer'
import { readFileSync, statSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { TailraceError } from '../error.js'
import { UsageError, type Variables } from './command.js'

const replacement = '\ufffd'

/** Throws UsageError for an argument that is not UTF-8. `args` are the last arguments of this
 *  process. */
export function checkArguments(args: readonly string[]): void {
  if (!args.some((text) => text.includes(replacement))) return
  const raw = stringsOf('/proc/self/cmdline').slice(-args.length)
  for (const [index, text] of args.entries()) {
    const bytes = raw[index]
    if (text.includes(replacement) && !(bytes && isUtf8(bytes))) {
      throw new UsageError(`argument ${index + 1} is not UTF-8: ${shown(text)}`)
    }
  }
}

/** Throws EINVAL for a variable whose name or value is not UTF-8, among `names` or all. Node leaves
 *  out a variable whose name is not UTF-8; it is seen in the bytes only. */
export function checkVariables(environment: Variables, names?: readonly string[]): void {
  const concerns = (name: string) => !names || names.includes(name)
  const raw = stringsOf('/proc/self/environ')
  const wrong =
    raw.length > 0
      ? raw.filter((entry) => !isUtf8(entry)).map((entry) => entry.toString().split('=')[0] ?? '')
      : Object.keys(environment).filter((name) => {
          return `${name}${environment[name]}`.includes(replacement)
        })
  const found = wrong.find(concerns)
  if (found === undefined) return
  throw new TailraceError(
    'EINVAL',
    `the variable ${shown(found)} is not UTF-8: set it anew, or unset it`,
  )
}

/** Returns the absolute path of a path. Throws EINVAL where it is relative, and this process's
 *  directory is not UTF-8. */
export function absolutePath(path: string): string {
  return isAbsolute(path) ? resolve(path) : resolve(workingDirectory(), path)
}

function workingDirectory(): string {
  const path = process.cwd()
  if (!path.includes(replacement)) return path
  const here = statSync('.')
  const named = statSync(path, { throwIfNoEntry: false })
  if (named?.dev === here.dev && named.ino === here.ino) return path
  throw new TailraceError('EINVAL', `the path of this directory is not UTF-8: ${shown(path)}`)
}

/** Returns the strings of a file of /proc, each without its NUL; none where the system has no such
 *  file. */
function stringsOf(path: string): Buffer[] {
  try {
    const bytes = readFileSync(path)
    const strings: Buffer[] = []
    for (let from = 0; from < bytes.length; ) {
      const end = bytes.indexOf(0, from)
      const to = end < 0 ? bytes.length : end
      strings.push(bytes.subarray(from, to))
      from = to + 1
    }
    return strings
  } catch {
    return []
  }
}

function shown(text: string): string {
  return JSON.stringify(text)
}
