/** The peer without a store: a file for each key, written with fdatasync and followed with `tail
 *  -f`. What is in flight at once is written with one write and one fdatasync a file. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
  writevSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import type { Client, System } from './system.js'

export const plainFile: System = {
  id: 'file',
  title: 'plain file',
  durability: 'write and fdatasync, `tail -f`',
  keyed: true,
  // Larger ones are written one by one: the file's gate is a sync for each 64 KiB.
  orderedSizeMax: 64 * 1024,
  // Each `tail -f` is a process and an instance of inotify, of which a user has 128.
  watchersMax: 100,
  sharedWatches: false,
  found: () => ({ version: 'of this machine' }),
  start: async (directory) => ({ address: directory, [Symbol.asyncDispose]: async () => {} }),
  connect: async (address) => new Files(address),
}

class Files implements Client {
  readonly #directory: string
  readonly #descriptors = new Map<string, number>()
  #waiting: { readonly key: string; readonly value: Buffer; readonly done: Deferred<void> }[] = []

  constructor(directory: string) {
    this.#directory = directory
  }

  append(key: string, value: Buffer): Promise<void> {
    const done = deferred<void>()
    // The tick comes after all callers that the last flush woke have appended again.
    if (this.#waiting.length === 0) process.nextTick(() => this.#flush())
    this.#waiting.push({ key, value, done })
    return done.promise
  }

  async follow(key: string, onData: (data: Uint8Array) => boolean): Promise<void> {
    this.#descriptorOf(key, 'a') // a file that is not there yet is made
    await this.#read('tail', ['-c', '+1', '-f', this.#pathOf(key)], onData)
  }

  async replay(key: string, onData: (data: Uint8Array) => boolean): Promise<void> {
    await this.#read('cat', [this.#pathOf(key)], onData)
  }

  async put(key: string, value: Buffer): Promise<void> {
    const descriptor = this.#descriptorOf(key, 'w')
    writeSync(descriptor, value, 0, value.length, 0)
    fdatasyncSync(descriptor)
  }

  async get(key: string): Promise<Uint8Array> {
    return readFileSync(this.#pathOf(key))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor)
    this.#descriptors.clear()
  }

  #flush(): void {
    const waiting = this.#waiting
    this.#waiting = []
    const byKey = new Map<string, Buffer[]>()
    for (const { key, value } of waiting) {
      const values = byKey.get(key)
      if (values) values.push(value)
      else byKey.set(key, [value])
    }
    for (const [key, values] of byKey) {
      const descriptor = this.#descriptorOf(key, 'a')
      writevSync(descriptor, values)
      fdatasyncSync(descriptor)
    }
    for (const { done } of waiting) done.resolve()
  }

  async #read(
    command: string,
    args: readonly string[],
    onData: (data: Uint8Array) => boolean,
  ): Promise<void> {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const exit = once(child, 'exit')
    const output: Readable = child.stdout
    try {
      for await (const chunk of output as AsyncIterable<Buffer>) if (!onData(chunk)) return
    } finally {
      child.kill()
      await exit
    }
  }

  #descriptorOf(key: string, flags: 'a' | 'w'): number {
    const known = this.#descriptors.get(key)
    if (known !== undefined) return known
    const path = this.#pathOf(key)
    mkdirSync(dirname(path), { recursive: true })
    const descriptor = openSync(path, flags, 0o600)
    this.#descriptors.set(key, descriptor)
    return descriptor
  }

  #pathOf(key: string): string {
    return join(this.#directory, key)
  }
}
