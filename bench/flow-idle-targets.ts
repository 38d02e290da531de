/** A target that lasts until its run is ended: a module that each worker imports. */

import { setTimeout as delay } from 'node:timers/promises'
import { target, targetSignal } from '../src/flow/flow.js'

const hourMs = 3_600_000

export const long = target('long', [hourMs], (ms) => delay(ms, 'done', { signal: targetSignal() }))
