/** Small projects in folders of their own, for the tests of the code of functions. */

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A folder of files, which is removed when it is disposed of. */
export class Project implements Disposable {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), 'tailrace-code-')))

  /** `files`: texts by path; an object is written as JSON. */
  constructor(files: Readonly<Record<string, string | object>>) {
    for (const [path, content] of Object.entries(files)) this.write(path, content)
  }

  path(path: string): string {
    return join(this.directory, path)
  }

  write(path: string, content: string | object): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    writeFileSync(
      this.path(path),
      typeof content === 'string' ? content : `${JSON.stringify(content)}\n`,
    )
  }

  remove(path: string): void {
    rmSync(this.path(path), { recursive: true })
  }

  /** Makes `path` a symlink to `target`, both in this project. */
  link(path: string, target: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    symlinkSync(this.path(target), this.path(path))
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
