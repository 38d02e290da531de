/** The thread that renews the leases of a client; see lease-thread.ts. */

import { parentPort, workerData } from 'node:worker_threads'
import { type Renewal, renewInLoop } from '../store/renewal.js'
import {
  clockOf,
  type FromThread,
  type ManyToThread,
  type ThreadData,
  type ToThread,
  timeOf,
} from './lease-thread.js'
import { connect } from './node.js'

const { target, options } = workerData as ThreadData
const store = await connect(target, { ...options, requests: 'http' })
const renew = renewInLoop(store)
const kept = new Map<number, Renewal>()

parentPort?.on('message', (messages: ManyToThread) => {
  for (const message of messages) take(message)
})

function take(message: ToThread): void {
  const { id } = message
  if (message.type === 'end') {
    void kept.get(id)?.end() // it never rejects
    kept.delete(id)
    return
  }
  const { lease, until } = message
  const renewal = renew(
    { ...lease, sent: timeOf(lease.sent) },
    {
      renewed: (time) => {
        Atomics.store(until, 0, clockOf(time))
        say({ type: 'renewed', id })
      },
      lost: (error) => {
        kept.delete(id)
        say({ type: 'lost', id, code: error.code, message: error.message })
      },
    },
  )
  kept.set(id, renewal)
}

function say(message: FromThread): void {
  parentPort?.postMessage(message)
}
