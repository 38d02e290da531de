/** `tailrace` in scripts of bash without a process of Node for each command: where a command only asks its server and
 *  prints, this process runs it, as a sandbox does. The script sends the arguments, and gets what it prints. */

import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Sandbox } from './sandbox.js'

/** Starts to answer the scripts of a sandbox. `prologue` defines `tailrace` in them; what has to be a process is left to
 *  `process`, a command with its first arguments. */
export async function askingShell(
  sandbox: Sandbox,
  process: string,
): Promise<AsyncDisposable & { readonly prologue: string }> {
  const server = createServer((socket) => void answer(sandbox, socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const prologue = `tailrace() {
    local asked code out err
    exec {asked}<>/dev/tcp/127.0.0.1/${port}
    printf '%s\\0' "$#" "$@" >&$asked
    read -r code out err <&$asked
    if [ "$code" != process ]; then
      [ "$out" = 0 ] || head -c "$out" <&$asked
      [ "$err" = 0 ] || head -c "$err" <&$asked >&2
    fi
    exec {asked}>&-
    if [ "$code" = process ]; then ${process} "$@"; else return "$code"; fi
  }`
  return {
    prologue,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

async function answer(sandbox: Sandbox, socket: Socket): Promise<void> {
  socket.on('error', () => {}) // a script that was ended asks for nothing any more
  let received = ''
  for await (const chunk of socket.setEncoding('utf8')) {
    received += chunk
    const [count = '', ...args] = received.split('\0')
    // Each argument has a zero byte behind it.
    if (args.length <= Number(count)) continue
    const ended = await sandbox.askHere(args.slice(0, -1))
    const stderr = Buffer.from(ended?.stderr ?? '')
    const head = ended ? `${ended.code} ${ended.bytes.length} ${stderr.length}` : 'process 0 0'
    socket.end(Buffer.concat([Buffer.from(`${head}\n`), ended?.bytes ?? Buffer.of(), stderr]))
    return
  }
}
