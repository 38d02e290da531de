/** The programs and scripts that a page prints, in a project beside a data directory that has the package as npm would
 *  install it: `// name.mjs: what it does` is the first line of a program, `# name.sh: what it does` that of a script. */

import { execFile } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Returns the blocks of a language by their names. A block without one is `unnamed`. */
export function blocksOf(
  page: string,
  language: 'ts' | 'js' | 'sh',
  unnamed = '',
): ReadonlyMap<string, string> {
  const blocks = page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))
  return new Map(
    [...blocks].map(([, text = '']) => [
      /^(?:\/\/|#) ([\w-]+)\.(?:mjs|sh): /.exec(text)?.[1] ?? unnamed,
      text,
    ]),
  )
}

/** Makes a directory a project that has the package, and its scripts in package.json. */
export async function makeProject(
  directory: string,
  scripts: Readonly<Record<string, string>> = {},
): Promise<void> {
  await mkdir(join(directory, 'node_modules'))
  await symlink(root, join(directory, 'node_modules', 'tailrace'))
  await symlink(join(root, 'node_modules/@types'), join(directory, 'node_modules/@types'))
  await writeFile(join(directory, 'package.json'), JSON.stringify({ type: 'module', scripts }))
}

/** Returns what `tsc --strict` says of files of a project: nothing if they are sound. */
export async function complaintsAbout(
  directory: string,
  files: readonly string[],
  options: readonly string[] = [],
): Promise<string> {
  const strict = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022']
  const args = [...strict, '--types', 'node', ...options, ...files]
  const { stdout } = await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), args, {
    cwd: directory,
  }).catch((error: { readonly stdout: string }) => error)
  return stdout
}
