/** The certificates of the tests, which make.sh has made, and a directory in which they are replaced. */

import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Wakeup } from '../../../src/base/wakeup.js'

/** `server` and `other` are of localhost and 127.0.0.1. */
export type Name = 'server' | 'other' | 'expired' | 'elsewhere'

export function pem(file: string): Promise<Buffer> {
  return readFile(fileURLToPath(new URL(file, import.meta.url)))
}

/** The certificate that vouches for all of them. */
export const ca = await pem('ca.pem')

export class CertificateDirectory implements AsyncDisposable {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  static async of(name: Name): Promise<CertificateDirectory> {
    const made = new CertificateDirectory(await mkdtemp(join(tmpdir(), 'tailrace-tls-')))
    await made.putCert(name)
    await made.putKey(name)
    return made
  }

  get files() {
    return { certFile: join(this.directory, 'cert.pem'), keyFile: join(this.directory, 'key.pem') }
  }

  async putCert(name: Name): Promise<void> {
    await this.put('cert.pem', await pem(`${name}.pem`))
  }

  async putKey(name: Name): Promise<void> {
    await this.put('key.pem', await pem(`${name}-key.pem`))
  }

  async put(file: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
    const path = join(this.directory, file)
    await writeFile(`${path}.new`, bytes, { mode })
    await rename(`${path}.new`, path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** The lines of a log. */
export class Lines {
  readonly all: string[] = []
  readonly #added = new Wakeup()

  readonly log = (line: string): void => {
    this.all.push(line)
    this.#added.wake()
  }

  /** Resolves when a line has the pattern. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const seen = this.#added.count
      const found = this.all.find((line) => pattern.test(line))
      if (found !== undefined) return found
      await this.#added.wait(seen)
    }
  }
}
