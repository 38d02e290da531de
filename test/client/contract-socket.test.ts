/** The contract of `Kvs` over a server, whose small requests come by its websocket. */

import { kvsContract } from '../kvs/contract.js'
import { makeServed } from './serving.js'

kvsContract('over a server, by its websocket', () => makeServed('socket'))
