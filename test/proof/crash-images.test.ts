/** The images of a disk that lost its power: each is one that the calls allow, and those that could break
 *  an order are among them. Also how strace's lines are read. */

import { describe, expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { crashImages, sectorSize } from './crash-images.js'
import { type DiskCall, parseTrace } from './strace.js'

const write = (id: number, sector: number, mark: string, sectors = 1): DiskCall[] => [
  {
    type: 'write',
    path: 'disk',
    id,
    offset: sector * sectorSize,
    data: Buffer.alloc(sectors * sectorSize, mark),
  },
  { type: 'written', id, synced: false, ok: true },
]
const sync = (id: number, ok = true): DiskCall[] => [
  { type: 'sync', path: 'disk', id },
  { type: 'synced', path: 'disk', id, ok },
]
const told = (text: string): DiskCall => ({ type: 'told', path: 'told', text: `${text}\n` })

/** Each image as a letter a sector, `-` for zeros, with what was told by then. */
function imagesOf(calls: readonly DiskCall[], samples = 40): Set<string> {
  const images = [...crashImages(calls, samples, mulberry32(1))]
  return new Set(
    images.map(({ bytes, told: lines }) => {
      const letters = Array.from({ length: bytes.length / sectorSize }, (_, sector) =>
        String.fromCharCode(bytes[sector * sectorSize] || 45),
      )
      return [...lines, letters.join('')].join(' ')
    }),
  )
}

describe('crashImages()', () => {
  it('has every subset of the sectors that are not synced', () => {
    expect(imagesOf([...write(1, 0, 'a', 2), ...write(2, 2, 'b')])).toEqual(
      new Set(['', 'a', 'aa', '-a', '--b', 'a-b', '-ab', 'aab']),
    )
  })

  it('has what was synced in all that follow, and nothing older', () => {
    const calls = [
      ...write(1, 0, 'a'),
      ...sync(2),
      told('x'),
      ...write(3, 0, 'b'),
      ...write(4, 0, 'c'),
    ]
    expect(imagesOf(calls)).toEqual(new Set(['', 'a', 'x a', 'x b', 'x c']))
    expect(imagesOf([...calls, ...sync(5), told('y')])).toContain('x y c')
    expect(imagesOf([...calls, ...sync(5), told('y')])).not.toContain('x y a')
  })

  it('has a write to a synced descriptor when it has returned', () => {
    const [begun, returned] = write(1, 0, 'a')
    if (!begun || returned?.type !== 'written') throw new Error('two calls')
    const images = imagesOf([begun, { ...returned, synced: true }, told('x')])
    expect(images).toEqual(new Set(['', 'a', 'x a']))
  })

  it('is never sure again of what a failed sync was about', () => {
    const calls = [...write(1, 0, 'a'), ...sync(2, false), ...sync(3), told('x')]
    expect(imagesOf(calls)).toEqual(new Set(['', 'a', 'x ', 'x a']))
  })

  it('does not take a sync for a promise about writes that it did not see return', () => {
    const [begun, returned] = write(1, 0, 'a')
    if (!begun || !returned) throw new Error('two calls')
    expect(imagesOf([begun, ...sync(2), returned, told('x')])).toEqual(
      new Set(['', 'a', 'x ', 'x a']),
    )
  })
})

describe('parseTrace()', () => {
  const path = '\\x2f\\x64\\x69\\x73\\x6b' // /disk
  const read = (...lines: string[]) => parseTrace(lines, { disk: '/disk', told: '/told' })

  it('reads writes, seeks, syncs, and what is told, in the order in which they happened', () => {
    expect(
      read(
        `7 openat(AT_FDCWD<\\x2f>, "\\x2f", O_WRONLY|O_DSYNC|O_CLOEXEC) = 20<${path}>`,
        `7 pwrite64(19<${path}>, "\\x61\\x62", 2, 512 <unfinished ...>`,
        '8 write(3<\\x2f\\x74\\x6f\\x6c\\x64>, "\\x78\\x0a", 2) = 2',
        '7 <... pwrite64 resumed>) = 2',
        `7 lseek(19<${path}>, 1024, SEEK_SET) = 1024`,
        `7 writev(19<${path}>, [{iov_base="\\x63", iov_len=1}, {iov_base="\\x64", iov_len=1}], 2) = 2`,
        `7 fdatasync(19<${path}>) = -1 EIO (Input/output error) (INJECTED)`,
        `7 pwrite64(20<${path}>, "\\x65", 1, 0) = 1`,
      ),
    ).toEqual([
      { type: 'write', path: '/disk', id: 1, offset: 512, data: Buffer.from('ab') },
      { type: 'told', path: '/told', text: 'x\n' },
      { type: 'written', id: 1, synced: false, ok: true },
      { type: 'write', path: '/disk', id: 4, offset: 1024, data: Buffer.from('cd') },
      { type: 'written', id: 4, synced: false, ok: true },
      { type: 'sync', path: '/disk', id: 5 },
      { type: 'synced', path: '/disk', id: 5, ok: false },
      { type: 'write', path: '/disk', id: 6, offset: 0, data: Buffer.from('e') },
      { type: 'written', id: 6, synced: true, ok: true },
    ])
  })

  it('throws at what changes the disk in another way', () => {
    expect(() => read(`7 ftruncate(19<${path}>, 0) = 0`)).toThrow('ftruncate')
    expect(() =>
      read(`7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 19<${path}>, 0) = 0x7f`),
    ).toThrow('a map')
  })
})
