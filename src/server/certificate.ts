/** The certificate of the TCP addresses, and its key: reads and checks their files, and reads them again
 *  when they change. See rfc/13, rules 33 and 34.
 *  Invariant: a pair that is given out fits together. A pair that cannot be read or does not fit changes
 *  nothing: the former one stays. Nothing polls. */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { constants, type FSWatcher, watch } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import type { Environment } from '../base/environment.js'
import { assertSecretStats } from '../base/own.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import { tlsVersionMin } from './tls.js'

/** The time between the first change of the files and their next reading, in ms: who renews a certificate
 *  writes two files. */
export const reloadMs = 500
/** The time before the end of a certificate from which on the log speaks of it, in ms. */
export const expiryWarningMs = 14 * 24 * 60 * 60 * 1000
/** The largest file of a certificate or a key, in bytes. */
const fileSizeMax = 1024 * 1024

/** The files of a certificate, with those that vouch for it behind it, and of its key, in PEM. */
export type CertificateFiles = { readonly certFile: string; readonly keyFile: string }

/** A certificate and its key, in PEM, which fit together. */
export type CertificatePair = {
  readonly cert: Buffer
  readonly key: Buffer
  /** The beginning of the certificate, in ms since 1970. */
  readonly begins: number
  /** The end of the certificate, in ms since 1970. */
  readonly expires: number
}

type CertificatePorts = {
  readonly environment: Environment
  /** Writes a line to the log. */
  readonly log: (line: string, level: 'info' | 'warn') => void
  /** Called with each pair that replaces the one before. */
  readonly replaced: (pair: CertificatePair) => void
}

/** The certificate of one server. Dispose it at the end. */
export class Certificate implements Disposable {
  readonly #files: CertificateFiles
  readonly #ports: CertificatePorts
  readonly #watchers = new Map<string, FSWatcher>()
  #pair: CertificatePair | undefined
  /** The message of the last reading, if it failed: it is told once. */
  #failure: string | undefined
  #timer: Disposable | undefined
  /** The readings, one after the other. It never rejects. */
  #readings: Promise<void> = Promise.resolve()
  /** True if something has changed since the last reading began. */
  #isChanged = false
  #closed = false

  private constructor(files: CertificateFiles, ports: CertificatePorts) {
    this.#files = { certFile: resolve(files.certFile), keyFile: resolve(files.keyFile) }
    this.#ports = ports
  }

  /** Reads the files, and watches them from now on. Throws EMISCONFIGURED (a file cannot be read, is not
   *  PEM, does not fit the other one), EPERM (others may read the key). */
  static async open(files: CertificateFiles, ports: CertificatePorts): Promise<Certificate> {
    const certificate = new Certificate(files, ports)
    try {
      await certificate.#watch() // first, so that no change is missed
      certificate.#pair = await readPair(certificate.#files)
      certificate.#warn(certificate.#pair)
      return certificate
    } catch (error) {
      certificate[Symbol.dispose]()
      throw error
    }
  }

  /** The pair that was read last. */
  get pair(): CertificatePair {
    if (!this.#pair) throw new TypeError('the certificate was not read')
    return this.#pair
  }

  /** Reads the files now, after a reading that is under way. Never rejects. */
  readAgain(): Promise<void> {
    this.#readings = this.#readings.then(() => this.#reload())
    return this.#readings
  }

  [Symbol.dispose](): void {
    this.#closed = true
    this.#timer?.[Symbol.dispose]()
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** Watches the directories of the files, and of what they are links to: certbot and Kubernetes replace
   *  files and links by renaming, which a watch of the file itself does not outlive. */
  async #watch(): Promise<void> {
    const paths = Object.values(this.#files)
    const real = await Promise.all(paths.map((path) => realpath(path).catch(() => path)))
    if (this.#closed) return
    const directories = new Set([...paths, ...real].map((path) => dirname(path)))
    for (const [directory, watcher] of this.#watchers) {
      if (directories.has(directory)) continue
      this.#watchers.delete(directory)
      watcher.close()
    }
    for (const directory of directories) this.#watchOne(directory)
  }

  #watchOne(directory: string): void {
    if (this.#watchers.has(directory)) return
    const failed = (cause: unknown) => {
      const text = `changes in ${directory} are not noticed (${reasonOf(cause)}): send SIGHUP to the server after a new certificate`
      this.#ports.log(text, 'warn')
    }
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#changed())
      watcher.on('error', failed)
      this.#watchers.set(directory, watcher)
    } catch (cause) {
      failed(cause)
    }
  }

  /** Arms the timer of the next reading. It is not put off by further changes. */
  #changed(): void {
    this.#isChanged = true
    if (this.#closed) return
    this.#timer ??= this.#ports.environment.timer(reloadMs, () => void this.readAgain())
  }

  /** Never throws. */
  async #reload(): Promise<void> {
    this.#isChanged = false
    try {
      await this.#watch()
      this.#replace(await readPair(this.#files))
      this.#failure = undefined
    } catch (error) {
      this.#tell(error)
    }
    this.#timer = undefined
    if (this.#isChanged) this.#changed()
  }

  #replace(pair: CertificatePair): void {
    const { cert, key } = this.pair
    if (this.#closed || (cert.equals(pair.cert) && key.equals(pair.key))) return
    this.#ports.replaced(pair)
    this.#pair = pair
    this.#ports.log(
      `${this.#files.certFile} was read again: the certificate expires ${dateOf(pair.expires)}`,
      'info',
    )
    this.#warn(pair)
  }

  #tell(error: unknown): void {
    const message = reasonOf(error)
    if (this.#closed || message === this.#failure) return
    this.#failure = message
    this.#ports.log(`the certificate of before stays in use: ${message}`, 'warn')
  }

  #warn({ expires }: CertificatePair): void {
    const left = expires - this.#ports.environment.now()
    if (left > expiryWarningMs) return
    const when = left > 0 ? 'expires' : 'has expired'
    this.#ports.log(
      `the certificate of ${this.#files.certFile} ${when} ${dateOf(expires)}: renew it`,
      'warn',
    )
  }
}

/** Reads and checks a pair. Throws EMISCONFIGURED, EPERM. */
export async function readPair({ certFile, keyFile }: CertificateFiles): Promise<CertificatePair> {
  const cert = await readWhole(certFile)
  const certificate = attempt(
    () => new X509Certificate(cert),
    () => `${certFile} has no certificate in PEM`,
  )
  const key = await readWhole(keyFile, { isSecret: true })
  const privateKey = attempt(
    () => createPrivateKey(key),
    (cause) =>
      isMissingPassphrase(cause)
        ? `the key in ${keyFile} is encrypted: store it without a passphrase`
        : `${keyFile} has no private key in PEM`,
  )
  if (!certificate.checkPrivateKey(privateKey)) {
    throw misconfigured(`the key in ${keyFile} is not that of the certificate in ${certFile}`)
  }
  attempt(
    () => createSecureContext({ cert, key, minVersion: tlsVersionMin }),
    (cause) => `${certFile} and ${keyFile} cannot be used (${reasonOf(cause)})`,
  )
  const { validFrom, validTo } = certificate
  return { cert, key, begins: Date.parse(validFrom), expires: Date.parse(validTo) }
}

async function readWhole(path: string, { isSecret = false } = {}): Promise<Buffer> {
  try {
    // A named pipe would block.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const there = await file.stat()
    if (isSecret) assertSecretStats(path, there)
    if (!there.isFile()) throw misconfigured(`${path} is not a file`)
    if (there.size > fileSizeMax) throw misconfigured(`${path} has more than ${fileSizeMax} bytes`)
    return await file.readFile()
  } catch (cause) {
    if (isCode(cause, 'EMISCONFIGURED') || isCode(cause, 'EPERM')) throw cause
    throw misconfigured(`${path} cannot be read: ${reasonOf(cause)}`, cause)
  }
}

function attempt<T>(make: () => T, message: (cause: unknown) => string): T {
  try {
    return make()
  } catch (cause) {
    throw misconfigured(message(cause), cause)
  }
}

function isMissingPassphrase(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_MISSING_PASSPHRASE'
}

function misconfigured(message: string, cause?: unknown): TailraceError {
  return new TailraceError('EMISCONFIGURED', message, { cause })
}

function dateOf(time: number): string {
  return new Date(time).toISOString()
}
