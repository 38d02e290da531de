/** The program of a worker process of BullMQ: `bullmq-worker SOCKET SLOTS`. It says when it is ready, and
 *  ends with the process that forked it. */

import { call, type Value } from '../flow-graphs.js'
import { fetchedPackage } from '../systems/fetched.js'
import { type JobData, queueName } from './bullmq.js'

type Job = { readonly data: JobData; readonly returnvalue: Value }
type Queue = { getJob(id: string): Promise<Job | undefined> }
type BullMq = {
  readonly Queue: new (name: string, options: object) => Queue
  readonly Worker: new (
    name: string,
    run: (job: Job) => Promise<Value>,
    options: object,
  ) => { waitUntilReady(): Promise<unknown>; on(event: 'error', hear: () => void): void }
}

process.once('disconnect', () => process.exit())

const [, , path = '', slots = '1'] = process.argv
const { Queue, Worker } = (await fetchedPackage('bullmq')) as BullMq
const connection = { path, maxRetriesPerRequest: null }
const queue = new Queue(queueName, { connection })
/** Arrays by the jobs that gave them. */
const arrays = new Map<string, Promise<Value>>()

async function read(id: string): Promise<Value> {
  const job = await queue.getJob(id)
  if (!job) throw new Error(`there is no job ${id}`)
  return job.returnvalue
}

function arrayOf(id: string): Promise<Value> {
  const known = arrays.get(id) ?? read(id)
  arrays.set(id, known)
  return known
}

async function run({ data: { inputs, ...node } }: Job): Promise<Value> {
  const values: Value[] = []
  for (const input of inputs) {
    values.push(typeof input === 'number' ? input : await arrayOf(input.job))
  }
  return call(node, values)
}

const worker = new Worker(queueName, run, { connection, concurrency: Number(slots) })
worker.on('error', () => {}) // the server ends before this process
await worker.waitUntilReady()
process.send?.('ready')
