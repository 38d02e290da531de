/** The package as npm installs it, for the programs of projects: a folder of its own below `node_modules`, so that it
 *  counts as a package there, and not as code of the project. */

import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Installs the package into a project: all that its package.json names, but for maps of sources, and its
 *  dependencies. */
export async function installPackage(project: string): Promise<string> {
  const home = join(project, 'node_modules', 'tailrace')
  await mkdir(home, { recursive: true })
  const { files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  for (const name of ['package.json', ...(files as readonly string[])]) {
    const filter = (path: string) => !path.endsWith('.map')
    await cp(join(root, name), join(home, name), { recursive: true, filter })
  }
  await symlink(join(root, 'node_modules'), join(home, 'node_modules'))
  return home
}

/** Installs the package once for the tests of a file, whose projects have links to it. To be called where the file is
 *  read; the path is known while its tests run. */
export function sharedPackage(): { readonly path: string } {
  const shared = { path: '' }
  beforeAll(async () => {
    const project = await mkdtemp(join(tmpdir(), 'tailrace-package-'))
    shared.path = await installPackage(project)
    return () => rm(project, { recursive: true })
  })
  return shared
}
