/** All systems that benchmarks compare, ours first. */

import { durableStreams } from './durable-streams.js'
import { etcd } from './etcd.js'
import { nats } from './nats.js'
import { plainFile } from './plain-file.js'
import { postgres } from './postgres.js'
import { redis } from './redis.js'
import type { System, SystemId } from './system.js'
import { tailrace } from './tailrace.js'

export const systems: readonly System[] = [
  tailrace,
  plainFile,
  redis,
  nats,
  postgres,
  etcd,
  durableStreams,
]

export function systemOf(id: SystemId): System {
  const system = systems.find((each) => each.id === id)
  if (!system) throw new Error(`there is no system ${id}`)
  return system
}
