/** A small run on a store of its own directory, which kills itself at the event whose number it is given. It says
 *  what it calls and what has finished before that, a line each. Where the store has a run already, that is resumed
 *  once it is known to be dead. Arguments: the directory, the number or 0. */

import { writeSync } from 'node:fs'
import { map, run, runsOf, target } from '../../src/flow/flow.js'
import { open } from '../../src/open.js'

const [directory = '', killAt = '0'] = process.argv.slice(2)
/** Says a line at once: a pipe may lose what a killed process has not written. */
const say = (line: string) => writeSync(1, `${line}\n`)

const numbers = target('numbers', [2], (length: number) => {
  say('call numbers')
  return Array.from({ length }, (_, at) => at)
})
const squares = map('squares', [numbers], (value: number) => {
  say(`call square ${value}`)
  return value * value
})
const sum = target('sum', [squares], (values: readonly number[]) => {
  say('call sum')
  return values.reduce((all, each) => all + each, 0)
})

const names: Readonly<Record<string, string>> = {
  'squares[0]': 'square 0',
  'squares[1]': 'square 1',
}

const store = await open({ directory })
const runs = runsOf({ store })
const [old] = await runs.newest()
if (old !== undefined) say(`old ${old} ${(await runs.ended(old)).state}`)
const made = run(sum, { store, concurrency: 2, ...(old !== undefined && { resumes: old }) })
let events = 0
for await (const { type, target: name } of made) {
  if (type === 'finish' || type === 'hit') say(`finish ${names[name] ?? name}`)
  if (++events === Number(killAt)) process.kill(process.pid, 'SIGKILL')
}
say(`result ${await made.result}`)
if (made.id !== undefined) say(`resumes ${(await runs.show(made.id)).resumes}`)
await store.close()
