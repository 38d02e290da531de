/** A program that leaves its clients open: `TOKEN TARGET…`. */

import { connect } from '../../src/client/node.js'

const [token = '', ...targets] = process.argv.slice(2)
for (const target of targets) {
  const client = await connect(target, { token })
  await client.append('log', 'x')
  for await (const _ of client.watch('log', { mode: 'append' })) break
}
process.stdout.write('done\n')
