import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it, onTestFinished } from 'vitest'
import { TarReader } from '../ts/tar/entries.ts'
import { CofferNull, exportTar, importTar } from './support/coffer.ts'
import { posix } from './support/platform.ts'
import { tempDir } from './support/temp.ts'

const RECORD = 512
const LONG = `${'directory/'.repeat(9)}${'n'.repeat(60)}`
const LONGER = `${'longer-directory/'.repeat(15)}${'n'.repeat(200)}`

async function emptyBox(name = 'box.coffer'): Promise<CofferNull> {
  const box = await CofferNull.open(join(tempDir(), name), 'x')
  onTestFinished(() => box.close())
  return box
}

interface Fields {
  name: string | Buffer
  type?: string
  size?: number | Buffer
  mode?: string
  mtime?: string | Buffer
  linkname?: string
  magic?: string
}

/** A header as its fields say. */
function header({ name, type = '0', size = 0, mode = '0000644\0', mtime = '0', linkname = '', magic }: Fields): Buffer {
  const record = Buffer.alloc(RECORD)
  record.set(Buffer.from(name).subarray(0, 100))
  record.write(mode, 100, 'latin1')
  record.set(typeof size === 'number' ? Buffer.from(size.toString(8).padStart(11, '0')) : size, 124)
  record.set(Buffer.from(mtime), 136)
  record.write(type, 156, 'latin1')
  record.write(linkname, 157, 'latin1')
  record.write(magic ?? 'ustar\x0000', 257, 'latin1')
  record.fill(' ', 148, 156)
  const sum = record.reduce((all, byte) => all + byte, 0)
  record.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return record
}

function padded(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content as string)
  return Buffer.concat([bytes, Buffer.alloc((RECORD - (bytes.length % RECORD)) % RECORD)])
}

/** An entry with its content. */
function entry(fields: Fields, content: string | Buffer = ''): Buffer {
  return Buffer.concat([header({ size: Buffer.from(content as string).length, ...fields }), padded(content)])
}

function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')])
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

const pax = (...records: Buffer[]): Buffer => entry({ name: 'PaxHeader', type: 'x' }, Buffer.concat(records))
const END = Buffer.alloc(2 * RECORD)
const streamOf = (...parts: Buffer[]): Readable => Readable.from([Buffer.concat(parts)], { objectMode: false })

/** A tree with what archives have: a long name, a closed file and directory, a hard link, a symbolic one. */
function tree(long: string): string {
  const root = join(tempDir(), 'tree')
  mkdirSync(join(root, 'empty/inner'), { recursive: true })
  mkdirSync(join(root, long, '..'), { recursive: true })
  writeFileSync(join(root, long), 'long')
  writeFileSync(join(root, 'file'), 'some text\n')
  writeFileSync(join(root, 'closed'), 'closed')
  linkSync(join(root, 'file'), join(root, 'hard'))
  symlinkSync('file', join(root, 'soft'))
  chmodSync(join(root, 'file'), 0o640)
  chmodSync(join(root, 'closed'), 0)
  chmodSync(join(root, 'empty/inner'), 0o1750)
  utimesSync(join(root, 'file'), 1_500_000_000, 1_500_000_000.25)
  utimesSync(join(root, 'empty/inner'), 1_400_000_000, 1_400_000_000)
  lutimesSync(join(root, 'soft'), 1, 1)
  return root
}

/** What a box has of it. */
async function seen(box: CofferNull): Promise<Record<string, unknown[]>> {
  const all: Record<string, unknown[]> = {}
  for (const { name, type, mode, mtime } of await box.members()) {
    const text = type === 'file' ? await box.readText(name) : ''
    all[name] = [type, mode, Math.floor(mtime.getTime() / 1000), text]
  }
  return all
}

const writers: [name: string, command: string[]][] = [
  ...['v7', 'oldgnu', 'gnu', 'ustar', 'posix'].map((format): [string, string[]] => [
    `GNU tar as ${format}`,
    ['tar', `--format=${format}`, '--sort=name', '-cf', '-', '.'],
  ]),
  ...['gnu', 'oldgnu', 'posix'].map((format): [string, string[]] => [
    `GNU tar as ${format} with a label`,
    ['tar', `--format=${format}`, '--sort=name', '-V', 'the label', '-cf', '-', '.'],
  ]),
  ...['v7', 'gnutar', 'ustar', 'pax'].map((format): [string, string[]] => [
    `bsdtar as ${format}`,
    ['bsdtar', '--format', format, '-cf', '-', '.'],
  ]),
  ...['USTAR', 'GNU', 'PAX'].map((format): [string, string[]] => [
    `Python as ${format}`,
    [
      'python3',
      '-c',
      `import sys,tarfile; t=tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=tarfile.${format}_FORMAT); t.add('.'); t.close()`,
    ],
  ]),
]

const has = (command = ''): boolean => spawnSync(command, ['--version']).status === 0

describe.skipIf(!posix)('an archive', () => {
  it.each(writers)('of %s is imported whole', async (_, [command = '', ...args]) => {
    if (!has(command)) return
    // The oldest form has no names of more than 99 bytes.
    const long = args.includes('v7') || args.includes('--format=v7') ? LONG.slice(60) : LONG
    const root = tree(long)
    const made = spawnSync(command, args, { cwd: root, maxBuffer: 1 << 26 })
    expect([made.status, String(made.stderr)]).toEqual([0, ''])
    const box = await emptyBox()
    const { skipped } = await importTar(box, Readable.from([made.stdout]))
    expect(skipped).toEqual([{ path: './soft', reason: 'it is a symbolic link to file' }])
    const { closed, ...rest } = await seen(box)
    expect(rest).toEqual({
      [long]: ['file', 0o644, expect.any(Number), 'long'],
      'empty/inner': ['directory', 0o1750, 1_400_000_000, ''],
      file: ['file', 0o640, 1_500_000_000, 'some text\n'],
      hard: ['file', 0o640, 1_500_000_000, 'some text\n'],
    })
    expect(closed?.slice(0, 2)).toEqual(['file', 0])
    // And what comes out of the coffer is what GNU tar takes for the same.
    const listed = spawnSync('tar', ['-tvf', '-'], { input: await buffer(exportTar(box)), encoding: 'utf8' })
    expect([listed.status, listed.stderr]).toEqual([0, ''])
    expect(listed.stdout).toMatch(/^---------- .* closed$/m)
    expect(listed.stdout).toMatch(/^drwxr-x--T .* empty\/inner\/$/m)
  })

  it.each([
    ['GNU tar as gnu', ['tar', '--format=gnu']],
    ['GNU tar as posix', ['tar', '--format=posix']],
    ['bsdtar as pax', ['bsdtar', '--format', 'pax']],
  ])('of %s has names of any length', async (_, [command = '', ...args]) => {
    if (!has(command)) return
    const root = tempDir()
    mkdirSync(join(root, LONGER, '..'), { recursive: true })
    writeFileSync(join(root, LONGER), 'longer')
    linkSync(join(root, LONGER), join(root, 'zz-hard'))
    const made = spawnSync(command, [...args, '-cf', '-', ...readdirSync(root)], { cwd: root, maxBuffer: 1 << 26 })
    const box = await emptyBox()
    await importTar(box, Readable.from([made.stdout]))
    expect(Object.keys(await seen(box))).toEqual([LONGER, 'zz-hard'])
    expect(await box.readText('zz-hard')).toBe('longer')
  })

  it.each([
    ['gnu', []],
    ['posix 0.0', ['--sparse-version=0.0']],
    ['posix 0.1', ['--sparse-version=0.1']],
    ['posix 1.0', ['--sparse-version=1.0']],
  ])('of GNU tar with a sparse file (%s) is imported without it, which is reported', async (format, version) => {
    if (!has('tar')) return
    const root = tempDir()
    writeFileSync(join(root, 'before'), 'before')
    writeFileSync(join(root, 'holes'), '')
    // More pieces than a header has room for.
    for (let i = 1; i < 40; i += 1) {
      truncateSync(join(root, 'holes'), i * 200_000)
      writeFileSync(join(root, 'holes'), 'x'.repeat(5_000), { flag: 'a' })
    }
    writeFileSync(join(root, 'later'), 'later')
    const args = [`--format=${format.split(' ')[0]}`, ...version, '-S', '-cf', '-', 'before', 'holes', 'later']
    const made = spawnSync('tar', args, { cwd: root, maxBuffer: 1 << 26 })
    const box = await emptyBox()
    const { skipped } = await importTar(box, Readable.from([made.stdout]))
    const reported = skipped.map(({ path, reason }) => `${path}: ${reason}`)
    const names = Object.keys(await seen(box))
    // A file system without holes gives an archive without a sparse file.
    if (made.stdout.length > 5_000_000) return
    expect(reported).toEqual(['holes: it is a sparse file'])
    expect(names).toEqual(['before', 'later'])
  })
})

describe('the end of an archive', () => {
  const one = entry({ name: 'a' }, 'x')

  it.each([
    ['two records of zeros', [END]],
    ['one', [END.subarray(RECORD)]],
    ['one and a part', [END.subarray(100)]],
    ['many', [Buffer.alloc(20 * RECORD)]],
  ])('is %s', async (_, end) => {
    const box = await emptyBox()
    expect(await importTar(box, streamOf(one, ...end))).toMatchObject({ files: 1 })
  })

  it.each([
    ['none', [one]],
    ['a part of one', [one, Buffer.alloc(100)]],
    ['none behind a PAX header', [one, pax(paxRecord('path', 'b'))]],
    ['zeros behind a PAX header', [one, pax(paxRecord('path', 'b')), END]],
    ['something else', [one, END, Buffer.alloc(RECORD, 7)]],
  ])('is not %s', async (_, parts) => {
    const box = await emptyBox()
    await expect(importTar(box, streamOf(...parts))).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    expect(await box.members()).toEqual([])
  })

  it('is also what stands between two archives that stand behind each other', async () => {
    const box = await emptyBox()
    const two = [one, END, END, entry({ name: 'b' }, 'y'), END]
    expect(await importTar(box, streamOf(...two))).toMatchObject({ files: 2 })
  })

  it('is missing wherever an archive is cut', async () => {
    const box = await emptyBox()
    const whole = Buffer.concat([
      one,
      pax(paxRecord('path', 'c'), paxRecord('mtime', '1.5')),
      entry({ name: 'b' }, 'y'),
    ])
    for (let at = 1; at <= whole.length; at += at % RECORD === 0 ? 1 : Math.min(170, RECORD - (at % RECORD))) {
      await expect(importTar(box, streamOf(whole.subarray(0, at)))).rejects.toMatchObject({
        code: 'ERR_COFFER_CORRUPT',
      })
    }
    expect(await box.members()).toEqual([])
  })
})

describe('a name in an archive', () => {
  it('may have U+FFFD, and is left out only if it is not UTF-8', async () => {
    const box = await emptyBox()
    const bad = Buffer.from([0x61, 0xff, 0x62])
    const { skipped } = await importTar(
      box,
      streamOf(
        entry({ name: 'odd\ufffd' }, '1'),
        pax(paxRecord('path', 'odder\ufffd')),
        entry({ name: 'x' }, '2'),
        entry({ name: bad }, '3'),
        pax(paxRecord('path', bad)),
        entry({ name: 'y' }, '4'),
        entry({ name: '././@LongLink', type: 'L' }, Buffer.concat([bad, Buffer.from([0])])),
        entry({ name: 'z' }, '5'),
        END,
      ),
    )
    expect((await box.members()).map(({ name }) => name)).toEqual(['odder\ufffd', 'odd\ufffd'])
    expect(skipped).toEqual(Array.from({ length: 3 }, () => ({ path: 'a\ufffdb', reason: 'its name is not UTF-8' })))
  })

  it('that is none stops the import', async () => {
    const box = await emptyBox()
    for (const [bytes, code] of [
      [pax(paxRecord('path', 'a\0b')), 'ERR_COFFER_INVALID_ARG'],
      [pax(paxRecord('path', '../a')), 'ERR_COFFER_UNSAFE_PATH'],
      [entry({ name: 'l', type: 'K' }, 'x'.repeat(4_000)), undefined],
      [entry({ name: 'l', type: 'L' }, 'x/'.repeat(4_000)), 'ERR_COFFER_INVALID_ARG'],
    ] as const) {
      const importing = importTar(box, streamOf(entry({ name: 'first' }, '1'), bytes, entry({ name: 'b' }, '2'), END))
      if (code === undefined) expect(await importing).toMatchObject({ files: 2 })
      else await expect(importing).rejects.toMatchObject({ code })
      for (const { name } of await box.members()) await box.delete(name)
    }
  })
})

describe('what headers say', () => {
  const first = async (...parts: Buffer[]) => new TarReader(streamOf(...parts)).next()

  it('may be a size of any form', async () => {
    const size = 9 * 2 ** 30
    const binary = Buffer.alloc(12)
    binary.writeBigUInt64BE(BigInt(size), 4)
    binary[0] = 0x80
    expect(await first(header({ name: 'a', size: binary }))).toMatchObject({ size })
    expect(await first(pax(paxRecord('size', String(size))), header({ name: 'a' }))).toMatchObject({ size })
    expect(await first(header({ name: 'a', size: Buffer.from('    1750 \0') }))).toMatchObject({ size: 0o1750 })
    const box = await emptyBox()
    await expect(importTar(box, streamOf(header({ name: 'a', size: binary }), END))).rejects.toMatchObject({
      code: 'ERR_COFFER_CORRUPT',
    })
    for (const bad of ['9'.repeat(11), '-0000000001', 'twelve']) {
      await expect(first(header({ name: 'a', size: Buffer.from(bad) }))).rejects.toMatchObject({
        code: 'ERR_COFFER_CORRUPT',
      })
    }
    for (const bad of ['-1', '1e3', '']) {
      const reading = first(pax(paxRecord('size', bad)), header({ name: 'a', size: 3 }))
      if (bad === '') expect(await reading).toMatchObject({ size: 3 })
      else await expect(reading).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    }
    const most = Buffer.alloc(12, 0xff)
    most[0] = 0x80
    await expect(first(header({ name: 'a', size: most }))).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
    await expect(first(header({ name: 'a', size: Buffer.alloc(12, 0xff) }))).rejects.toMatchObject({
      code: 'ERR_COFFER_CORRUPT',
    })
  })

  it('may be a time of any form', async () => {
    const binary = Buffer.alloc(12, 0xff)
    binary.writeBigInt64BE(-1_000n, 4)
    for (const [parts, mtime] of [
      [[header({ name: 'a', mtime: binary })], -1_000_000_000_000n],
      [[header({ name: 'a', mtime: '00000000012' })], 10_000_000_000n],
      [[header({ name: 'a', mtime: '' })], undefined],
      [[pax(paxRecord('mtime', '-0.000000001')), header({ name: 'a' })], -1n],
      [[pax(paxRecord('mtime', '1.9999999999')), header({ name: 'a' })], 1_999_999_999n],
      [[pax(paxRecord('mtime', '-1.9999999999')), header({ name: 'a' })], -2_000_000_000n],
      [[pax(paxRecord('mtime', 'soon')), header({ name: 'a', mtime: '7' })], 7_000_000_000n],
    ] as const) {
      expect((await first(...parts))?.mtime).toBe(mtime)
    }
  })

  it('holds for all entries where a global header says it, until an entry says otherwise', async () => {
    const global = entry({ name: 'g', type: 'g' }, Buffer.concat([paxRecord('comment', 'x'), paxRecord('mtime', '5')]))
    const reader = new TarReader(
      streamOf(
        global,
        header({ name: 'a' }),
        pax(paxRecord('mtime', '6')),
        header({ name: 'b' }),
        header({ name: 'c' }),
        END,
      ),
    )
    const times: unknown[] = []
    for (let next = await reader.next(); next; next = await reader.next()) times.push([next.name, next.mtime])
    expect(times).toEqual([
      ['a', 5_000_000_000n],
      ['b', 6_000_000_000n],
      ['c', 5_000_000_000n],
    ])
  })

  it('is content of a hard link in a PAX archive alone', async () => {
    const box = await emptyBox()
    const link = { name: 'b', type: '1', linkname: 'a' }
    await importTar(box, streamOf(entry({ name: 'a' }, 'x'), header({ ...link, size: 1 }), END))
    expect(await box.readText('b')).toBe('x')
    await importTar(box, streamOf(pax(paxRecord('mtime', '1')), entry(link, 'own'), END))
    expect(await box.readText('b')).toBe('own')
  })

  it('takes little memory, however much a header asks for', async () => {
    const box = await emptyBox()
    for (const type of ['x', 'g', 'L', 'K']) {
      let pulled = 0
      const endless = Readable.from(
        (async function* () {
          yield header({ name: 'x', type, size: Buffer.from('77777777777') })
          for (; pulled < 1_000; pulled += 1) yield Buffer.alloc(65_536)
        })(),
        { objectMode: false },
      )
      await expect(importTar(box, endless)).rejects.toMatchObject({ code: 'ERR_COFFER_LIMIT' })
      expect(pulled).toBeLessThan(10)
    }
  })

  it('is refused where it is malformed', async () => {
    for (const content of ['x', '0 a=b\n', '7 a=b\n', '6 a=b\nrest', '5 a=b', '99 a=b\n', '-6 a=b\n', ' a=b\n']) {
      await expect(first(entry({ name: 'p', type: 'x' }, content), header({ name: 'a' }))).rejects.toMatchObject({
        code: 'ERR_COFFER_CORRUPT',
      })
    }
    const wrong = header({ name: 'a' })
    wrong[0] = 0x62
    await expect(first(wrong)).rejects.toThrow(/does not begin with a header/)
    await expect(first(Buffer.from([0x1f, 0x8b]), Buffer.alloc(RECORD, 3))).rejects.toThrow(/decompress it first/)
  })
})
