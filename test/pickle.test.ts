import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CofferNull, type PasswordEntry } from './support/coffer.ts'
import { tempDir } from './support/temp.ts'

const RECORD = '.plugins/passwd'

const fixture = (name: string): Buffer => readFileSync(join(import.meta.dirname, 'fixtures', name))

/** What is in the fixtures, in local time as PyCoffer writes it. */
const times = { ctime: new Date(2024, 1, 29, 12, 34, 56, 789), mtime: new Date(2025, 0, 2, 3, 4, 5) }
const expected: PasswordEntry[] = [
  {
    name: 'mail',
    owner: null,
    username: 'alice',
    password: 'hunter2',
    url: 'https://mail.example/',
    note: 'old',
    ...times,
  },
  { name: 'mail', owner: 'bob', username: 'bob', password: 'pässwörd 語 🗝️\\\n', url: null, note: null, ...times },
  { name: '', owner: 'chrome', username: '', password: '', url: '', note: '', ...times },
]

/** A coffer with a record of PyCoffer's, and the plugin. */
async function withRecord(pickle: Uint8Array) {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
  onTestFinished(async () => box.close())
  await box.write(RECORD, pickle)
  return { box, passwords: await box.plugin('password') }
}

async function imported(pickle: Uint8Array): Promise<PasswordEntry[]> {
  const { passwords } = await withRecord(pickle)
  await passwords.importPyCoffer()
  return Promise.all((await passwords.list()).map(async (info) => passwords.get(info)))
}

async function refused(pickle: Uint8Array | string, message = 'is not a record'): Promise<void> {
  const { box, passwords } = await withRecord(Buffer.from(pickle as string, 'latin1'))
  await expect(passwords.importPyCoffer()).rejects.toMatchObject({
    code: 'ERR_COFFER_CORRUPT',
    member: RECORD,
    message: expect.stringContaining(message),
  })
  expect(await box.has('.plugins/password')).toBe(false)
}

/** A length in bytes, little-endian. */
function length(size: number, value: bigint): string {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes.toString('latin1', 0, size)
}

const text = (value: string): string => `X${length(4, BigInt(value.length))}${value}`
const date = 'cdatetime\ndatetime\nC\x0a\x07\xe8\x01\x01\x00\x00\x00\x00\x00\x00\x85R'
const info = 'cpycoffer.plugins.password\nPasswordInfo\n)\x81'
/** A record with one password, with these attributes. */
const record = (attributes: string): string => `}(N${text('name')}\x86${info}}(${attributes}ubu.`
const dates = `${text('ctime')}${date}${text('mtime')}${date}`

describe('a record of PyCoffer', () => {
  it.each([0, 1, 2, 3, 4, 5])('is read in protocol %i', async (protocol) => {
    expect(await imported(fixture(`passwd-${protocol}.pickle`))).toEqual(expected)
  })

  it.each(['passwords.pycoffer', 'passwords-dill.pycoffer'])('is read in %s, as its plugin wrote it', async (name) => {
    const path = join(import.meta.dirname, 'fixtures', name)
    await using box = await CofferNull.open(path, 'r', { legacy: true, lock: 'none' })
    expect(await imported(await box.read(RECORD))).toEqual(expected)
  })

  it('may be empty', async () => {
    expect(await imported(Buffer.from('}.'))).toEqual([])
    expect(await imported(Buffer.from('(d.'))).toEqual([])
  })

  it('has nothing but what it says of itself', async () => {
    const [entry] = await imported(Buffer.from(record(`${dates}${text('more')}K\x01`), 'latin1'))
    expect(entry).toEqual({
      name: 'name',
      owner: null,
      username: null,
      password: null,
      url: null,
      note: null,
      ctime: new Date(2024, 0, 1),
      mtime: new Date(2024, 0, 1),
    })
  })
})

describe('a date', () => {
  it('of an hour that comes twice, as a clock is put back, is that hour', async () => {
    const [entry] = await imported(Buffer.from(record(dates.replaceAll('\xe8\x01', '\xe8\x81')), 'latin1'))
    expect(entry?.ctime).toEqual(new Date(2024, 0, 1))
  })

  it('of the first century is in it', async () => {
    const [entry] = await imported(Buffer.from(record(dates.replaceAll('\x07\xe8', '\x00\x05')), 'latin1'))
    expect(entry?.ctime.getFullYear()).toBe(5)
  })
})

describe('a pickle that is no such record', () => {
  it.each([
    'os.system',
    'posix.system',
    'builtins.eval',
    'subprocess.Popen',
    '__builtin__.eval',
    'pycoffer.Coffer',
    'dill._dill._create_type',
    'datetime.timezone',
    'pycoffer.plugins.password.Password',
  ])('asks for %s and gets nothing', async (name) => {
    const marker = join(tempDir(), 'marker')
    const [, module, attribute] = /^(.*)\.(.*)$/.exec(name) ?? []
    const call = `(${text(`touch ${marker}`)}tR.`
    await refused(`c${module}\n${attribute}\n${call}`, 'it asks for something that is not called here')
    await refused(
      `\x80\x04${text(`${module}`)}${text(`${attribute}`)}\x93${call}`,
      'it asks for something that is not called here',
    )
    // It does not help to hide it in an attribute.
    await refused(
      record(`${dates}${text('password')}c${module}\n${attribute}\n${call}`),
      'it asks for something that is not called here',
    )
    expect(existsSync(marker)).toBe(false)
  })

  it.each<[string, string, string?]>([
    ['is empty', ''],
    ['is a list', '].', 'it is not a dict'],
    ['has a name for a key', `}${text('name')}${info}s.`, 'a key that is not an owner and a name'],
    ['has a value that is no password', '}(NN\x86Nu.', 'a value that is not a PasswordInfo'],
    [
      'has a value that is an object of no class',
      '}(NN\x86ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nNNtRu.',
      'without a class',
    ],
    ['has a number for a password', record(`${dates}${text('password')}K\x07`), 'whose password is not text'],
    ['has no time', record(text('ctime') + date), 'whose mtime is not a date'],
    ['has a date of nine bytes', record(`${text('ctime')}cdatetime\ndatetime\nC\x09123456789\x85R`), 'an invalid date'],
    ['has a date in a thirteenth month', record(dates.replaceAll('\xe8\x01', '\xe8\x0d')), 'an invalid date'],
    ['has a date with a time zone', record(`${text('ctime')}${date.replace('\x85R', 'N\x86R')}`), 'a time zone'],
    [
      'has bytes that are no date',
      `c_codecs\nencode\n(${text('x'.repeat(11))}${text('latin1')}tR.`,
      'bytes that are not a date',
    ],
    ['has half of a surrogate pair', record(`${dates}${text('note')}V\\ud800\n`), 'whose note is not text'],
    ['has text that is not UTF-8', 'X\x01\x00\x00\x00\xff.'],
    ['calls what cannot be called', `${text('x')})R.`, 'calls what cannot be called'],
    ['calls a class with no tuple', `cpycoffer.plugins.password\nPasswordInfo\nNR.`, 'calls what cannot be called'],
    ['builds a list', ']}b.', 'builds what cannot be built'],
    ['builds an object from a list', `${info}]b.`, 'builds what cannot be built'],
    ['sets items of a list', ']NNs.', 'sets items of a value that is not a dict'],
    ['sets one item and a half', '}(NNNu.', 'sets items of a value that is not a dict'],
    ['appends to a dict', '}Na.', 'appends to a value that is not a list'],
    ['takes from an empty stack', '0.', 'more from its stack'],
    ['takes what is below a mark', 'N(0N.', 'more from its stack'],
    ['goes back to no mark', 't.', 'a mark that it never made'],
    ['recalls what it never remembered', 'h\x05.', 'recalls what it never remembered'],
    ['has a persistent id', 'P1\n.', 'the opcode 0x50'],
    ['has an extension', '\x82\x01.', 'the opcode 0x82'],
    ['has a protocol that is not known', '\x80\x06.', 'the protocol 6'],
    ['has a text of 4 GiB', 'X\xff\xff\xff\xff.', 'ends too early'],
    ['has a text of nearly 2^64 bytes', `\x8d${length(8, 2n ** 64n - 1n)}x.`, 'ends too early'],
    ['has bytes of nearly 2^64', `\x8e${length(8, 2n ** 64n - 1n)}x.`, 'ends too early'],
    ['has a number of 4 GiB', '\x8b\xff\xff\xff\xff.', 'ends too early'],
    ['has a line without an end', 'Iabc', 'ends too early'],
    ['has a number that is none', 'Iabc\n.', 'an invalid number'],
  ])('%s', async (_, pickle, message) => {
    await refused(pickle, message)
  })

  it('is deep', async () => {
    await refused(`${']'.repeat(1_000_000)}${'a'.repeat(999_999)}.`, 'it is not a dict')
    await refused(`${'('.repeat(1_000_000)}${'t'.repeat(1_000_000)}.`, 'it is not a dict')
  })

  it('asks for a list that holds itself in as many places as nobody can count', async () => {
    const twice = Array.from(
      { length: 20 },
      (_, index) => `](h${String.fromCharCode(index)}h${String.fromCharCode(index)}e\x94`,
    )
    await refused(`]\x94${twice.join('')}${text('x')}\x93.`, 'what has no name')
  })

  it('unfolds to more than it is', async () => {
    const long = text('x'.repeat(1_000_000))
    const attributes = `}(${dates}${text('note')}${long}uq\x00`
    const entries = Array.from({ length: 70 }, (_, index) => `N${text(`name ${index}`)}\x86${info}h\x00b`)
    await refused(`${attributes}0}(${entries.join('')}u.`, '64 MiB')
  })

  it.each([0, 2, 4])('is cut off anywhere, in protocol %i', async (protocol) => {
    const pickle = fixture(`passwd-${protocol}.pickle`)
    const { box, passwords } = await withRecord(pickle)
    for (let end = 0; end < pickle.length; end += 1) {
      await box.write(RECORD, pickle.subarray(0, end))
      await expect(passwords.importPyCoffer()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
    }
  })

  it.each([0, 2, 4])('has a byte changed anywhere, in protocol %i', async (protocol) => {
    const pickle = fixture(`passwd-${protocol}.pickle`)
    const { box, passwords } = await withRecord(pickle)
    for (let at = 0; at < pickle.length; at += 1) {
      const damaged = Buffer.from(pickle)
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8))
      await box.write(RECORD, damaged)
      await passwords.importPyCoffer().catch((error) => {
        expect(error).toMatchObject({ code: 'ERR_COFFER_CORRUPT' })
        expect(error.message).not.toContain('hunter2')
      })
    }
  })
})
