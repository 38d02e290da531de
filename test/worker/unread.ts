/** A program with a link to a worker that is stopped, gets messages, and is killed before it reads them: the system
 *  then tells the link's sockets that their connection was reset. It says why the worker ended. Argument: the path of
 *  the module of targets. */

import { processLink } from '../../src/worker/process-link.js'

const modules = process.argv.slice(2)
const link = processLink(
  { modules, slots: 1, argv: [], graceMs: 200 },
  {
    received: () => {
      process.kill(link.pid ?? 0, 'SIGSTOP')
      link.takeBack([1, 2, 3])
      link.send([{ body: { type: 'leave' }, parts: [] }])
      link.kill()
    },
    tookBack: () => {},
    ended: (why) => console.log(why),
  },
)
// The link alone keeps no process.
const kept = setInterval(() => {}, 2 ** 30)
await link.gone
clearInterval(kept)
