/** How fast do appends of 4 KiB reach many watchers: 100 and 1,000 on one key, and 1,000 on 1,000
 *  keys?
 *
 *  Expected. Each append is loaded once and its frame encoded once. A watcher on a connection of
 *  its own costs one system call of 4 KiB for what is ready in a turn, 5–10 µs of the server, so
 *  100,000–200,000 deliveries/s and 400–800 MB/s, which the process of the watchers has to read
 *  with as many calls. On one connection the frames of all watchers go out together, and the
 *  copying decides. 1,000 watchers on 1,000 keys: no delivery shares anything, each append wakes
 *  one watcher, so appends and their commits decide. 16 appends are in flight: the fdatasyncs are
 *  shared. Redis copies each answer once into the buffer of each client.
 *
 *  All watchers are in one process, which compares every byte. */

import type { Bench } from './bench.js'
import type { Gate, Row } from './figures.js'
import { cpuMsOf } from './measure.js'
import type { Started } from './systems/system.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const size = 4_096
const inFlight = 16
/** The appends of durable-streams are so many times fewer: they would take minutes. */
const slower = 20

const works = [
  { name: '100 watchers on 1 key', watchers: 100, keys: 1, connections: 'own', appends: 400 },
  { name: '100 on 1 key, sharing', watchers: 100, keys: 1, connections: 'one', appends: 400 },
  { name: '1,000 on 1 key', watchers: 1_000, keys: 1, connections: 'own', appends: 60 },
  {
    name: '1,000 on 1,000 keys',
    watchers: 1_000,
    keys: 1_000,
    connections: 'own',
    appends: 5_000,
  },
] as const
type Work = (typeof works)[number]
type Name = Work['name'] | `CPU of ${Work['name']}`

export const fanOut: Bench = {
  question: 'how fast do appends reach 100 and 1,000 watchers?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const outcomes = await inTurn<Name>(systems, runs, async (system, server) => {
      await using writer = await Worker.start(system, server)
      await using watching = await Worker.start(system, server)
      const rates: Partial<Record<Name, number>> = {}
      for (const work of works) {
        if (work.watchers > system.watchersMax) continue
        if (work.connections === 'one' && !system.sharedWatches) continue
        const { rate, cpu } = await deliveries(
          server,
          { writer, watching },
          work,
          system.id === 'durable-streams' ? scale * slower : scale,
        )
        rates[work.name] = rate
        if (cpu !== undefined) rates[`CPU of ${work.name}`] = cpu
      }
      return rates
    })
    return works.flatMap(({ name, watchers, keys, connections }): readonly Row[] => {
      const where = connections === 'own' ? 'a connection each' : 'one connection'
      const on = keys === 1 ? '1 key' : `${shown(keys)} keys`
      const work = `4 KiB, ${shown(watchers)} watchers on ${on}, ${where}`
      const gates: Gate[] = []
      if (connections === 'own') gates.push({ to: 'redis', ratio: watchers === 100 ? 1.2 : 1 })
      return [
        {
          bench: 'fan-out',
          work,
          unit: 'deliveries/s',
          better: 'more',
          figures: outcomes.figures(name),
          gates,
        },
        {
          bench: 'fan-out',
          work: `${work}, CPU of the server`,
          unit: 'µs a delivery',
          better: 'less',
          figures: outcomes.figures(`CPU of ${name}`),
        },
      ]
    })
  },
}

async function deliveries(
  server: Started,
  { writer, watching }: { readonly writer: Worker; readonly watching: Worker },
  { name, watchers, keys, connections, appends }: Work,
  scale: number,
): Promise<{ readonly rate: number; readonly cpu: number | undefined }> {
  const names = Array.from({ length: keys }, (_, at) => `${name.replaceAll(/\W+/g, '-')}/${at}`)
  // As many to each key, so that each watcher knows how many it gets.
  const each = Math.max(1, Math.ceil(appends / keys / scale))
  const writes = writer.begin('spread', { keys: names, records: each * keys, inFlight, size })
  await writes.ready
  const watches = watching.begin('watch', {
    keys: names,
    watchers,
    connections,
    records: each,
    size,
  })
  await watches.ready
  const cpuMs = () => (server.pid === undefined ? Number.NaN : cpuMsOf(server.pid))
  const before = cpuMs()
  writes.go()
  const [{ startMs }, { endMs }] = await Promise.all([writes.result, watches.result])
  const cpu = ((cpuMs() - before) * 1_000) / (watchers * each)
  return {
    rate: (watchers * each * 1_000) / (endMs - startMs),
    cpu: Number.isNaN(cpu) ? undefined : cpu,
  }
}

function shown(count: number): string {
  return count.toLocaleString('en')
}
