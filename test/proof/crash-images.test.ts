/** The images of a disk that lost its power: each is one that the calls allow, and those that could break
 *  an order are among them. Also how strace's lines are read. */

import { describe, expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { crashImages, sectorSize } from './crash-images.js'
import { type DiskCall, parseTrace } from './strace.js'

const write = (id: number, sector: number, mark: string, sectors = 1): DiskCall[] => [
  {
    type: 'write',
    path: '/disk/a',
    id,
    offset: sector * sectorSize,
    data: Buffer.alloc(sectors * sectorSize, mark),
  },
  { type: 'changed', id, synced: false, ok: true },
]
const sync = (id: number, { ok = true, path = '/disk/a' } = {}): DiskCall[] => [
  { type: 'sync', path, id },
  { type: 'synced', path, id, ok },
]
const told = (text: string): DiskCall => ({ type: 'told', path: 'told', text: `${text}\n` })

/** Each file as a letter a sector, `-` for zeros, with what was told by then; files that are there by their
 *  names. */
function imagesOf(calls: readonly DiskCall[], initial = ['/disk/a'], samples = 1_000): Set<string> {
  const files = new Map(initial.map((path) => [path, Buffer.alloc(0)]))
  const images = [...crashImages(calls, samples, mulberry32(1), files)]
  return new Set(
    images.map(({ files: there, told: lines }) => {
      const words = [...there].map(([path, bytes]) => {
        const letters = Array.from({ length: bytes.length / sectorSize }, (_, sector) =>
          String.fromCharCode(bytes[sector * sectorSize] || 45),
        )
        return (path === '/disk/a' ? '' : `${path.slice(6)}=`) + letters.join('')
      })
      return [...lines, ...words].join(' ')
    }),
  )
}

describe('crashImages()', () => {
  it('has every subset of the sectors that are not synced, and every length that the file had', () => {
    expect(imagesOf([...write(1, 0, 'a', 2), ...write(2, 2, 'b')])).toEqual(
      new Set(['', ...['aa', '-a', 'a-', '--'].flatMap((two) => [two, `${two}-`, `${two}b`])]),
    )
  })

  it('has a cut only as a whole, and what was written behind it', () => {
    const cut: DiskCall[] = [
      { type: 'truncate', path: '/disk/a', id: 3, size: sectorSize },
      { type: 'changed', id: 3, synced: false, ok: true },
    ]
    const calls = [...write(1, 0, 'a', 2), ...sync(2), ...cut]
    expect(imagesOf([...calls, told('x')])).toEqual(
      new Set(['', 'a', 'aa', '-a', 'a-', '--', 'x aa', 'x a-', 'x a']),
    )
    const after = imagesOf([...calls, ...sync(4), told('x'), ...write(5, 1, 'b')])
    expect([...after].filter((image) => image.startsWith('x'))).toEqual(['x a', 'x ab', 'x a-'])
  })

  it('has zeros where a hole was made, or what was there', () => {
    const calls: DiskCall[] = [
      ...[...write(1, 0, 'a', 2), ...sync(2)],
      { type: 'punch', path: '/disk/a', id: 3, offset: sectorSize, size: 8 * sectorSize },
      { type: 'changed', id: 3, synced: false, ok: true },
      told('x'),
    ]
    const images = [...imagesOf(calls)].filter((image) => image.startsWith('x'))
    expect(new Set(images)).toEqual(new Set(['x aa', 'x a-']))
  })

  it('has a name, or not, until its directory is synced, whatever was synced of the file', () => {
    const made = '/disk/b'
    const calls: DiskCall[] = [
      { type: 'create', path: made, id: 1 },
      { type: 'write', path: made, id: 2, offset: 0, data: Buffer.alloc(sectorSize, 'b') },
      { type: 'changed', id: 2, synced: true, ok: true },
      told('x'),
    ]
    const all = imagesOf(calls, [])
    expect(all).toEqual(new Set(['', 'b=', 'b=-', 'b=b', 'x', 'x b=b']))
    const synced = [...calls, ...sync(3, { path: '/disk' }), told('y')]
    expect([...imagesOf(synced, [])].filter((image) => image.includes('y'))).toEqual(['x y b=b'])
    const gone: DiskCall[] = [
      ...[...synced, { type: 'unlink', path: made, id: 4 } as const],
      { type: 'changed', id: 4, synced: false, ok: true },
      told('z'),
    ]
    const images = (list: readonly DiskCall[]) =>
      new Set([...imagesOf(list, [])].filter((image) => image.includes('z')))
    expect(images(gone)).toEqual(new Set(['x y z b=b', 'x y z']))
    expect(images([...gone.slice(0, -1), ...sync(5, { path: '/disk' }), told('z')])).toEqual(
      new Set(['x y z']),
    )
  })

  it('has both, either or none of the names of a rename', () => {
    const calls: DiskCall[] = [
      { type: 'rename', path: '/disk/a', id: 1, to: '/disk/b' },
      { type: 'changed', id: 1, synced: false, ok: true },
      told('x'),
    ]
    expect(imagesOf([...calls, ...sync(2, { path: '/disk' }), told('y')])).toContain('x y b=')
    const images = [...imagesOf(calls)].filter((image) => image.startsWith('x'))
    expect(new Set(images)).toEqual(new Set(['x ', 'x b=', 'x  b=', 'x']))
  })

  it('has all of a directory that is renamed, or none of it', () => {
    const calls: DiskCall[] = [
      { type: 'rename', path: '/disk/d', id: 1, to: '/disk/e' },
      { type: 'changed', id: 1, synced: false, ok: true },
      told('x'),
    ]
    const initial = new Map([
      ['/disk/d/a', Buffer.from('1')],
      ['/disk/d/b', Buffer.from('2')],
    ])
    const namesIn = (list: readonly DiskCall[], line: string) => {
      const images = [...crashImages(list, 200, mulberry32(1), initial)]
      const last = images.filter(({ told: lines }) => lines.at(-1) === line)
      return new Set(last.map(({ files }) => [...files.keys()].sort().join(' ')))
    }
    const [old, renamed] = ['/disk/d/a /disk/d/b', '/disk/e/a /disk/e/b']
    expect(namesIn(calls, 'x')).toEqual(new Set([old, renamed, `${old} ${renamed}`, '']))
    const after = [...calls, ...sync(2, { path: '/disk' }), told('y')]
    expect(namesIn(after, 'y')).toEqual(new Set([renamed]))
  })

  it('is as before a rename or a removal that failed', () => {
    const failing = (call: DiskCall): DiskCall[] => [
      call,
      { type: 'changed', id: 1, synced: false, ok: false },
      told('x'),
    ]
    for (const call of [
      { type: 'rename', path: '/disk/a', id: 1, to: '/disk/b' },
      { type: 'unlink', path: '/disk/a', id: 1 },
    ] satisfies DiskCall[]) {
      const images = [...imagesOf(failing(call))].filter((image) => image.startsWith('x'))
      expect(images).toEqual(['x '])
    }
  })

  it('has what was synced in all that follow, and nothing older', () => {
    const calls = [
      ...write(1, 0, 'a'),
      ...sync(2),
      told('x'),
      ...write(3, 0, 'b'),
      ...write(4, 0, 'c'),
    ]
    expect(imagesOf(calls)).toEqual(new Set(['', 'a', '-', 'x a', 'x b', 'x c']))
    expect(imagesOf([...calls, ...sync(5), told('y')])).toContain('x y c')
    expect(imagesOf([...calls, ...sync(5), told('y')])).not.toContain('x y a')
  })

  it('has a write to a synced descriptor when it has returned', () => {
    const [begun, returned] = write(1, 0, 'a')
    if (!begun || returned?.type !== 'changed') throw new Error('two calls')
    const images = imagesOf([begun, { ...returned, synced: true }, told('x')])
    expect(images).toEqual(new Set(['', 'a', '-', 'x a']))
  })

  it('is never sure again of what a failed sync was about', () => {
    const calls = [...write(1, 0, 'a'), ...sync(2, { ok: false }), ...sync(3), told('x')]
    expect(imagesOf(calls)).toEqual(new Set(['', 'a', '-', 'x ', 'x a', 'x -']))
  })

  it('does not take a sync for a promise about writes that it did not see return', () => {
    const [begun, returned] = write(1, 0, 'a')
    if (!begun || !returned) throw new Error('two calls')
    expect(imagesOf([begun, ...sync(2), returned, told('x')])).toEqual(
      new Set(['', 'a', '-', 'x ', 'x a', 'x -']),
    )
  })
})

describe('parseTrace()', () => {
  const path = '\\x2f\\x64\\x69\\x73\\x6b\\x2f\\x61' // /disk/a
  const read = (...lines: string[]) =>
    parseTrace(lines, { disk: '/disk', told: '/told', passing: /^lock$/ })

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
      { type: 'write', path: '/disk/a', id: 1, offset: 512, data: Buffer.from('ab') },
      { type: 'told', path: '/told', text: 'x\n' },
      { type: 'changed', id: 1, synced: false, ok: true },
      { type: 'write', path: '/disk/a', id: 4, offset: 1024, data: Buffer.from('cd') },
      { type: 'changed', id: 4, synced: false, ok: true },
      { type: 'sync', path: '/disk/a', id: 5 },
      { type: 'synced', path: '/disk/a', id: 5, ok: false },
      { type: 'write', path: '/disk/a', id: 6, offset: 0, data: Buffer.from('e') },
      { type: 'changed', id: 6, synced: true, ok: true },
    ])
  })

  it('reads what happens to names, cuts and holes, and passes over the files that do not matter', () => {
    const other = `${path}\\x62`
    const flags = 'O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666'
    const hole = 'FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE'
    const lock = '\\x2f\\x64\\x69\\x73\\x6b\\x2f\\x6c\\x6f\\x63\\x6b' // /disk/lock
    expect(
      read(
        `7 openat(AT_FDCWD<\\x2f>, "${path}", ${flags}) = 19<${path}>`,
        `7 openat(AT_FDCWD<\\x2f>, "${lock}", ${flags}) = 20<${lock}>`,
        `7 ftruncate(20<${lock}>, 0) = 0`,
        `7 pwritev(19<${path}>, [{iov_base="\\x61", iov_len=1}, {iov_base="\\x62", iov_len=1}], 2, 512) = 2`,
        `7 fallocate(19<${path}>, ${hole}, 64, 128) = 0`,
        `7 ftruncate(19<${path}>, 8 <unfinished ...>`,
        '7 <... ftruncate resumed>) = 0',
        `7 rename("${path}", "${other}") = 0`,
        `7 unlinkat(AT_FDCWD<\\x2f>, "${other}", 0) = -1 ENOENT (No such file or directory)`,
        `7 unlink("${lock}") = 0`,
      ),
    ).toEqual([
      { type: 'create', path: '/disk/a', id: 0 },
      { type: 'truncate', path: '/disk/a', id: 1, size: 0 },
      { type: 'changed', id: 1, synced: false, ok: true },
      { type: 'write', path: '/disk/a', id: 4, offset: 512, data: Buffer.from('ab') },
      { type: 'changed', id: 4, synced: false, ok: true },
      { type: 'punch', path: '/disk/a', id: 5, offset: 64, size: 128 },
      { type: 'changed', id: 5, synced: false, ok: true },
      { type: 'truncate', path: '/disk/a', id: 6, size: 8 },
      { type: 'changed', id: 6, synced: false, ok: true },
      { type: 'rename', path: '/disk/a', id: 7, to: '/disk/ab' },
      { type: 'changed', id: 7, synced: false, ok: true },
      { type: 'unlink', path: '/disk/ab', id: 8 },
      { type: 'changed', id: 8, synced: false, ok: false },
    ])
  })

  it('throws at what changes the disk in another way', () => {
    expect(() => read(`7 sync_file_range(19<${path}>, 0, 0, 0) = 0`)).toThrow('sync_file_range')
    expect(() => read(`7 fallocate(19<${path}>, 0, 0, 4096) = 0`)).toThrow('fallocate')
    expect(() => read(`7 link("${path}", "${path}\\x62") = 0`)).toThrow('link')
    expect(() => read(`7 pwrite64(19<${path}>, "\\x61\\x62", 2, 0) = 1`)).toThrow('wrote 1')
    expect(() =>
      read(`7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 19<${path}>, 0) = 0x7f`),
    ).toThrow('a map')
  })
})
