/** What is stored of settings, floors and pins: golden bytes, and what damage is (rfc/10). */

import { describe, expect, it } from 'vitest'
import type { Pin } from '../../src/api/history.js'
import { parseBlobref } from '../../src/blob/blobref.js'
import { encode } from '../../src/blob/codec.js'
import { TailraceError } from '../../src/error.js'
import { decodePin, encodePin, pinKey } from '../../src/past/pins.js'
import {
  changeSettings,
  decodeFloor,
  decodeSettings,
  encodeSettings,
  settingsDefault,
} from '../../src/present/settings.js'

const pin: Pin = {
  name: 'p',
  namespace: 'primary',
  incarnation: 'i',
  seq: 5,
  ref: parseBlobref(`blake3-${'1'.repeat(64)}`),
  time: 7,
  pinned: 8,
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    return error instanceof TailraceError ? error.code : String(error)
  }
}

describe('records', () => {
  it('of settings and floors have golden bytes', () => {
    const bytes = Buffer.from(encode(encodeSettings(settingsDefault)))
    expect(bytes.toString('hex')).toBe('94cd1000ce0036ee80ce40000000c0')
    expect(Buffer.from(encode([258])).toString('hex')).toBe('91cd0102')
    const full = { historyCount: 1, historyAgeMs: 0, historySize: 0, quota: 0 }
    expect(decodeSettings([...encodeSettings(full)])).toEqual(full)
    expect(decodeSettings([...encodeSettings(settingsDefault)])).toEqual(settingsDefault)
    expect(decodeFloor([258])).toBe(258)
  })

  it('of pins have golden bytes', () => {
    const hex = `9701a77072696d617279a16905d947626c616b65332d${'31'.repeat(64)}0708`
    expect(Buffer.from(encodePin(pin)).toString('hex')).toBe(hex)
    expect(decodePin('p', Buffer.from(hex, 'hex'))).toEqual(pin)
  })

  it('that are damaged are ECORRUPT', () => {
    expect(codeOf(() => decodeSettings([1, 2, 3]))).toBe('ECORRUPT')
    expect(codeOf(() => decodeSettings([1, 2, -3, null]))).toBe('ECORRUPT')
    expect(codeOf(() => decodeFloor([]))).toBe('ECORRUPT')
    const damaged = [
      encode([2, 'primary', 'i', 5, pin.ref, 7, 8]),
      encode([1, 'primary', 'i', -5, pin.ref, 7, 8]),
      encode([1, 'primary', 'i', 5, 'no ref', 7, 8]),
      encode([1, 'primary', 'i', 5, pin.ref, 'then', 8]),
      encode('no array'),
    ]
    for (const bytes of damaged) expect(codeOf(() => decodePin('p', bytes))).toBe('ECORRUPT')
  })
})

describe('bounds', () => {
  it('of a pin’s name', () => {
    expect(pinKey('A-z_0.9')).toBe('pins/A-z_0.9')
    for (const name of ['', '.', '..', 'a/b', 'ü', 'x'.repeat(129)]) {
      expect(
        codeOf(() => pinKey(name)),
        name,
      ).toBe('EINVAL')
    }
  })

  it('of settings', () => {
    const least = { historyCount: 1, historyAgeMs: 0, historySize: 0, quota: 0 }
    expect(changeSettings(settingsDefault, least)).toEqual(least)
    expect(changeSettings(least, {})).toEqual(least)
    expect(changeSettings(least, { quota: null })).toEqual({
      historyCount: 1,
      historyAgeMs: 0,
      historySize: 0,
    })
    for (const change of [{ historyCount: 0 }, { historyAgeMs: 0.5 }, { quota: -1 }]) {
      expect(codeOf(() => changeSettings(settingsDefault, change))).toBe('EINVAL')
    }
  })
})
