import { createDecipheriv } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { marker } from './support/bytes.ts'
import { CofferBank, CofferNull, type NewPassword, type PasswordPlugin } from './support/coffer.ts'
import { keysFor, kindOf, kinds, openKind } from './support/kinds.ts'
import { PyCoffer, python } from './support/python.ts'
import { tempDir } from './support/temp.ts'

const mail: NewPassword = {
  name: 'mail',
  username: 'alice',
  password: 'hunter2',
  url: 'https://mail.example/',
  note: 'first\nsecond',
}

async function newPasswords() {
  const box = await CofferNull.open(join(tempDir(), 'box.coffer'), 'w')
  onTestFinished(async () => box.close())
  return { box, passwords: await box.plugin('password') }
}

const names = async (passwords: PasswordPlugin): Promise<string[]> =>
  (await passwords.list()).map(({ owner, name }) => `${owner ?? ''}/${name}`)

describe('passwords', () => {
  it('are added, and got back with all that belongs to them', async () => {
    const { passwords } = await newPasswords()
    const before = new Date()
    await passwords.add(mail)
    const entry = await passwords.get({ name: 'mail' })
    expect(entry).toEqual({ ...mail, owner: null, ctime: expect.any(Date), mtime: entry.ctime })
    expect(entry.ctime.getTime()).toBeGreaterThanOrEqual(before.getTime())
  })

  it('have null for what was not given', async () => {
    const { passwords } = await newPasswords()
    await passwords.add({ name: '' })
    const nothing = { owner: null, username: null, password: null, url: null, note: null }
    expect(await passwords.get({ name: '' })).toMatchObject(nothing)
  })

  it('are found by owner and name together', async () => {
    const { passwords } = await newPasswords()
    await passwords.add({ name: 'mail', password: 'nobody' })
    await passwords.add({ name: 'mail', owner: 'bob', password: 'of bob' })
    await passwords.add({ name: 'mail', owner: '', password: 'of the empty' })
    expect((await passwords.get({ name: 'mail' })).password).toBe('nobody')
    expect((await passwords.get({ name: 'mail', owner: null })).password).toBe('nobody')
    expect((await passwords.get({ name: 'mail', owner: 'bob' })).password).toBe('of bob')
    expect((await passwords.get({ name: 'mail', owner: '' })).password).toBe('of the empty')
  })

  it('are listed by owner and name, without the secret', async () => {
    const { passwords } = await newPasswords()
    expect(await passwords.list()).toEqual([])
    await passwords.add({ name: 'b', owner: 'z', password: 'secret' })
    await passwords.add({ name: 'b', owner: 'a', password: 'secret' })
    await passwords.add({ ...mail, password: 'secret' })
    await passwords.add({ name: 'a', owner: 'a', password: 'secret' })
    expect(await names(passwords)).toEqual(['/mail', 'a/a', 'a/b', 'z/b'])
    const list = await passwords.list()
    expect(list[0]).toEqual({
      name: 'mail',
      owner: null,
      username: 'alice',
      url: mail.url,
      note: mail.note,
      ctime: expect.any(Date),
      mtime: expect.any(Date),
    })
    expect(inspect(list, { depth: null, showHidden: true })).not.toContain('secret')
  })

  it('are replaced whole, and keep the time when they came', async () => {
    const { passwords } = await newPasswords()
    await passwords.add(mail)
    const old = await passwords.get({ name: 'mail' })
    while (Date.now() === old.mtime.getTime()) await new Promise((resolve) => setTimeout(resolve, 1))
    await passwords.add({ name: 'mail', password: 'new' })
    const entry = await passwords.get({ name: 'mail' })
    expect(entry).toMatchObject({ password: 'new', username: null, url: null, note: null, ctime: old.ctime })
    expect(entry.mtime.getTime()).toBeGreaterThan(old.mtime.getTime())
    // What get returned can be added again.
    await passwords.add({ ...old, note: 'again' })
    expect(await passwords.get({ name: 'mail' })).toMatchObject({
      password: 'hunter2',
      note: 'again',
      ctime: old.ctime,
    })
    expect(await passwords.list()).toHaveLength(1)
  })

  it('are not replaced with replace: false', async () => {
    const { passwords } = await newPasswords()
    await passwords.add(mail)
    const again = passwords.add({ ...mail, password: 'other-secret' }, { replace: false })
    await expect(again).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
      message: expect.stringContaining("'mail'"),
    })
    await passwords.add({ ...mail, owner: 'bob' }, { replace: false })
    expect((await passwords.get({ name: 'mail' })).password).toBe('hunter2')
    expect(await names(passwords)).toEqual(['/mail', 'bob/mail'])
  })

  it('are deleted', async () => {
    const { passwords } = await newPasswords()
    await passwords.add(mail)
    await passwords.add({ name: 'mail', owner: 'bob' })
    await passwords.delete({ name: 'mail' })
    expect(await names(passwords)).toEqual(['bob/mail'])
    const missing = { code: 'ERR_COFFER_MEMBER_NOT_FOUND', message: expect.stringContaining("'mail' without an owner") }
    await expect(passwords.delete({ name: 'mail' })).rejects.toMatchObject(missing)
    await expect(passwords.get({ name: 'mail' })).rejects.toMatchObject(missing)
    await expect(passwords.get({ name: 'mail', owner: 'carol' })).rejects.toMatchObject({
      message: expect.stringContaining("'carol'"),
    })
  })

  it('are found by any text but the secret', async () => {
    const { passwords } = await newPasswords()
    await passwords.add({ ...mail, note: 'ÄRGER' })
    await passwords.add({
      name: 'Bank',
      owner: 'Bob',
      username: 'B0B',
      url: 'https://bank.example/',
      password: 'alice',
    })
    const found = async (text: string): Promise<string[]> => (await passwords.search(text)).map(({ name }) => name)
    expect(await found('MAIL')).toEqual(['mail'])
    expect(await found('bank.EXAMPLE')).toEqual(['Bank'])
    expect(await found('example')).toEqual(['mail', 'Bank'])
    expect(await found('b0b')).toEqual(['Bank'])
    expect(await found('bob')).toEqual(['Bank'])
    expect(await found('ärg')).toEqual(['mail'])
    expect(await found('alice')).toEqual(['mail'])
    expect(await found('hunter')).toEqual([])
    expect(await found('')).toEqual(['mail', 'Bank'])
    expect(inspect(await passwords.search(''), { depth: null, showHidden: true })).not.toContain('hunter2')
  })

  it('are not lost when many are added at once', async () => {
    const { box, passwords } = await newPasswords()
    const other = await box.plugin('password')
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => (index % 2 ? passwords : other).add({ name: `${index}` })),
    )
    expect(await passwords.list()).toHaveLength(50)
  })

  it('are not shown by console.log', async () => {
    const { box, passwords } = await newPasswords()
    await passwords.add(mail)
    const entry = await passwords.get({ name: 'mail' })
    expect(inspect(entry)).not.toContain('hunter2')
    expect(inspect({ entry })).toContain('alice')
    expect(inspect(passwords, { depth: null, showHidden: true })).not.toContain('hunter2')
    expect(inspect(box, { depth: null })).not.toContain('hunter2')
    expect(Object.keys(entry)).toContain('password')
  })

  it('are still there in a coffer that is opened again', async () => {
    const path = join(tempDir(), 'bank.coffer')
    const keys = CofferBank.generateKeys()
    const bank = await CofferBank.open(path, 'x', keys)
    await (await bank.plugin('password')).add(mail)
    await bank.close()
    await using again = await CofferBank.open(path, 'r', keys)
    expect((await (await again.plugin('password')).get({ name: 'mail' })).password).toBe('hunter2')
  })

  it('are a list of maps in CBOR, under a mask', async () => {
    const { box, passwords } = await newPasswords()
    await passwords.add(mail)
    const { mask, masked } = await box.load<{ mask: Buffer; masked: Buffer }>('.plugins/password')
    const plain = createDecipheriv('aes-256-ctr', mask, Buffer.alloc(16)).update(masked)
    await box.write('plain', plain.subarray(4, 4 + plain.readUInt32BE()))
    expect(await box.load('plain')).toEqual([
      { ...mail, owner: null, ctime: expect.any(Date), mtime: expect.any(Date) },
    ])
    expect(plain.subarray(4 + plain.readUInt32BE()).every((byte) => byte === 0)).toBe(true)
    expect((await box.stat('.plugins/password')).mode).toBe(0o600)
  })

  it('are read from a record of the first versions, which had no mask', async () => {
    const { box, passwords } = await newPasswords()
    const [ctime, mtime] = [new Date(1), new Date(2)]
    await box.dump('.plugins/password', [{ ...mail, owner: null, ctime, mtime }])
    expect((await passwords.get({ name: 'mail' })).password).toBe(mail.password)
    await passwords.add({ name: 'other' })
    expect(await passwords.list()).toHaveLength(2)
  })

  it.each(kinds)('cannot be guessed by the length of the record in a $label', async (kind) => {
    const keys = keysFor(kind)
    const sizes = new Set<string>()
    // What somebody else may choose repeats the password, or does not: only then does it compress better.
    for (const guess of [
      'hunter2-horse-battery-staple',
      'wubgre9-ubefr-onggrel-fgncyr',
      'x9k2!fq-0z8vw-m3lnt5p-rj71dq',
    ]) {
      const path = join(tempDir(), 'box.coffer')
      const box = await openKind(kind, path, 'x', keys)
      const passwords = await box.plugin('password')
      await passwords.add({ name: 'mail', password: 'hunter2-horse-battery-staple' })
      await passwords.add({ name: 'guess', note: `password: ${guess}`.repeat(3) })
      await box.flush()
      const { size, storedSize } = await box.stat('.plugins/password')
      expect(storedSize).toBeGreaterThanOrEqual(size)
      sizes.add(`${size} ${storedSize}`)
      await box.close()
    }
    expect([...sizes]).toHaveLength(1)
  })

  it('do not tell their length, but for a step', async () => {
    const { box, passwords } = await newPasswords()
    const sizes = new Set<number>()
    for (let length = 1; length <= 100; length += 1) {
      await passwords.add({ name: 'mail', password: 'x'.repeat(length) })
      sizes.add((await box.stat('.plugins/password')).size)
    }
    expect(sizes.size).toBe(1)
    await passwords.add({ name: 'large', note: 'x'.repeat(100_000) })
    const { size } = await box.stat('.plugins/password')
    await passwords.add({ name: 'large', note: 'x'.repeat(104_000) })
    expect((await box.stat('.plugins/password')).size).toBe(size)
  })

  it.each<[string, unknown]>([
    ['no object', 'mail'],
    ['a misspelt field', { name: 'mail', pasword: 'other-secret' }],
    ['no name', { password: 'other-secret' }],
    ['a name that is a number', { name: 5 }],
    ['a password that is a number', { name: 'mail', password: 90_909 }],
    ['an owner that is an object', { name: 'mail', owner: { password: 'other-secret' } }],
    ['half of a surrogate pair', { name: 'mail', password: 'other-secret\ud800' }],
  ])('are refused with %s, and the secret is not shown', async (_, password) => {
    const { passwords } = await newPasswords()
    const error: unknown = await passwords.add(password as NewPassword).catch((reason) => reason)
    expect(error).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    expect(inspect(error)).not.toMatch(/other-secret|90_?909/)
  })

  it.each<[string, unknown]>([
    ['is no list', { name: 'mail' }],
    ['has an entry that is no map', [5]],
    ['has an entry without a name', [{ ...mail, name: 5 }]],
    ['has an entry without a time', [{ ...mail, owner: null }]],
    ['has a mask of another length', { mask: Buffer.alloc(16), masked: Buffer.alloc(8) }],
    ['is too short for a length', { mask: Buffer.alloc(32), masked: Buffer.alloc(3) }],
    ['ends before the length under its mask', { mask: Buffer.alloc(32), masked: Buffer.alloc(100) }],
  ])('are damage when the record %s', async (_, record) => {
    const { box, passwords } = await newPasswords()
    await box.dump('.plugins/password', record)
    for (const call of [async () => passwords.list(), async () => passwords.add(mail)]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_COFFER_CORRUPT', member: '.plugins/password' })
    }
  })

  it('end with the plugin', async () => {
    const { passwords } = await newPasswords()
    await passwords.close()
    for (const call of [
      async () => passwords.list(),
      async () => passwords.search('x'),
      async () => passwords.get({ name: 'x' }),
      async () => passwords.add({ name: 'x' }),
      async () => passwords.delete({ name: 'x' }),
      async () => passwords.importChrome({ csv: '' }),
      async () => passwords.importPyCoffer(),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_COFFER_CLOSED' })
    }
  })
})

describe('an export of Chrome', () => {
  const header = 'name,url,username,password,note'
  const file = join(import.meta.dirname, 'fixtures/chrome.csv')

  it('is read from its file', async () => {
    const { passwords } = await newPasswords()
    expect(await passwords.importChrome(file)).toEqual({ added: 4, replaced: 0 })
    expect(await names(passwords)).toEqual([
      'chrome/App',
      'chrome/bank.example',
      'chrome/example.com',
      'chrome/example.com (bob)',
    ])
    expect(await passwords.get({ name: 'bank.example', owner: 'chrome' })).toMatchObject({
      url: 'https://bank.example/login?a=1&b=2',
      username: 'carol',
      password: 'pa55wörd 語',
      note: 'first line\nsecond, line',
    })
    expect((await passwords.get({ name: 'example.com', owner: 'chrome' })).password).toBe('hunter2')
    expect((await passwords.get({ name: 'example.com (bob)', owner: 'chrome' })).password).toBe('correct, "horse"')
    expect(await passwords.get({ name: 'App', owner: 'chrome' })).toMatchObject({ username: '', note: '' })
  })

  it('replaces what it brought before, and keeps what others have', async () => {
    const { passwords } = await newPasswords()
    await passwords.add({ name: 'example.com', password: 'mine' })
    await passwords.importChrome(file)
    const csv = `${header}\nexample.com,u,alice,changed,\nnew.example,u,a,b,`
    expect(await passwords.importChrome({ csv })).toEqual({ added: 1, replaced: 1 })
    expect((await passwords.get({ name: 'example.com', owner: 'chrome' })).password).toBe('changed')
    expect((await passwords.get({ name: 'example.com' })).password).toBe('mine')
    expect(await passwords.list()).toHaveLength(6)
  })

  it('brings all or nothing with replace: false', async () => {
    const { passwords } = await newPasswords()
    await passwords.add({ name: 'b', owner: 'chrome', password: 'old' })
    const csv = `${header}\na,u,n,p,\nb,u,n,p,`
    await expect(passwords.importChrome({ csv }, { replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
    })
    expect(await names(passwords)).toEqual(['chrome/b'])
    expect(await passwords.importChrome({ csv }, { replace: false, owner: 'work' })).toEqual({ added: 2, replaced: 0 })
    expect(await passwords.importChrome({ csv }, { owner: null })).toEqual({ added: 2, replaced: 0 })
    expect(await names(passwords)).toEqual(['/a', '/b', 'chrome/b', 'work/a', 'work/b'])
  })

  it('loses no account of a site that has several', async () => {
    const { passwords } = await newPasswords()
    const rows = ['s,u1,alice,1,', 's,u1,bob,2,', 's,u2,bob,3,', 's,u2,bob,4,', 's (bob),u3,x,5,']
    expect(await passwords.importChrome({ csv: [header, ...rows].join('\n') })).toEqual({ added: 4, replaced: 0 })
    const all = await Promise.all((await passwords.list()).map(async (info) => passwords.get(info)))
    expect(all.map(({ name, password }) => [name, password])).toEqual([
      ['s', '1'],
      ['s (bob)', '2'],
      ['s (bob) (x)', '5'],
      ['s (bob, u2)', '4'],
    ])
  })

  it.each([
    ['with a byte order mark', `\ufeff${header}\na,u,n,p,x`],
    ['with Windows line ends', `${header}\r\na,u,n,p,x\r\n`],
    ['with Unix line ends', `${header}\na,u,n,p,x\n`],
    ['with both', `${header}\r\na,u,n,p,x\n`],
    ['without a line end at its end', `${header}\r\na,u,n,p,x`],
    ['with a header in capitals', `Name,URL,Username,PASSWORD,Note\r\na,u,n,p,x`],
    ['with everything in quotes', `"name","url","username","password","note"\r\n"a","u","n","p","x"`],
    ['with blank lines', `${header}\r\n\r\na,u,n,p,x\r\n\r\n`],
  ])('is read %s', async (_, csv) => {
    const { passwords } = await newPasswords()
    const path = join(tempDir(), 'export.csv')
    writeFileSync(path, csv)
    for (const source of [{ csv }, path, new URL(`file://${path}`)]) {
      await passwords.importChrome(source)
      expect(await passwords.get({ name: 'a', owner: 'chrome' })).toMatchObject({
        url: 'u',
        username: 'n',
        password: 'p',
        note: 'x',
      })
    }
    expect(await passwords.list()).toHaveLength(1)
  })

  it('may hold no passwords, but not nothing', async () => {
    const { passwords } = await newPasswords()
    expect(await passwords.importChrome({ csv: header })).toEqual({ added: 0, replaced: 0 })
    await expect(passwords.importChrome({ csv: '' })).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringContaining('column 1 of the header is missing'),
    })
  })

  it.each([
    ['a column in another place', 'name,username,url,password,note', "column 2 of the header is not 'url'"],
    ['a column of another name', 'name,url,username,password,notes', "column 5 of the header is not 'note'"],
    ["Firefox's header", 'url,username,password,httpRealm', "column 1 of the header is not 'name'"],
    ['a column missing', 'name,url,username,password', 'column 5 of the header is missing'],
    ['a column more', `${header},tag`, 'column 6 of the header is one too many'],
    ['spaces in its header', 'name, url,username,password,note', "column 2 of the header is not 'url'"],
    ['other separators', 'name;url;username;password;note', "column 1 of the header is not 'name'"],
  ])('is refused with %s', async (_, first, message) => {
    const { box, passwords } = await newPasswords()
    const refusal = passwords.importChrome({ csv: `${first}\n1,2,3,4,5\n` })
    await expect(refusal).rejects.toMatchObject({
      code: 'ERR_COFFER_INVALID_ARG',
      message: expect.stringContaining(message),
    })
    expect(await box.has('.plugins/password')).toBe(false)
  })

  it.each(['shop.example;alice;other-secret', 'other-secret,alice', 'name,other-secret'])(
    'is refused without a header, and no password is shown: %s',
    async (first) => {
      const { passwords } = await newPasswords()
      const error: unknown = await passwords.importChrome({ csv: `${first}\n` }).catch((reason) => reason)
      expect(error).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
      expect(inspect(error, { showHidden: true, depth: null })).not.toMatch(/other|secret/)
    },
  )

  it.each([
    ['a row with a field less', 'a,u,n,other-secret', 'line 3 of the CSV has 4 columns, not 5'],
    ['a row with a field more', 'a,u,n,other,secret,x', 'line 3 of the CSV has 6 columns, not 5'],
    ['a field less after a field of two lines', '"a\nb",u,n,other-secret', 'line 4 of the CSV has 4 columns, not 5'],
    ['a quote that does not end', 'a,u,n,"other-secret,x', 'CSV_QUOTE_NOT_CLOSED'],
    ['a quote in the middle', 'a,u,n,other"-secret,x', 'line 3'],
    ['text after a quote', 'a,u,n,"other"-secret,x', 'line 3'],
  ])('is refused with %s, whole, and no password is shown', async (_, row, message) => {
    const { box, passwords } = await newPasswords()
    const error: unknown = await passwords
      .importChrome({ csv: `${header}\nfine,u,n,p,x\n${row}\n` })
      .catch((reason) => reason)
    expect(error).toMatchObject({ code: 'ERR_COFFER_INVALID_ARG', message: expect.stringContaining(message) })
    expect(inspect(error, { showHidden: true, depth: null })).not.toMatch(/other|secret/)
    expect(await box.has('.plugins/password')).toBe(false)
  })

  it('is refused if it is not UTF-8, not there, or no file', async () => {
    const { passwords } = await newPasswords()
    const path = join(tempDir(), 'export.csv')
    writeFileSync(path, Buffer.from(`${header}\na,u,n,p\xe4,x`, 'latin1'))
    await expect(passwords.importChrome(path)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    await expect(passwords.importChrome(`${path}.not`)).rejects.toMatchObject({
      code: 'ERR_COFFER_IO',
      path: `${path}.not`,
      errno: expect.any(Number) as number,
      systemCode: 'ENOENT',
      syscall: 'open',
    })
    for (const source of [5, null, undefined, {}, { csv: 5 }, { text: '' }, new URL('https://a/')]) {
      await expect(passwords.importChrome(source as string)).rejects.toMatchObject({ code: 'ERR_COFFER_INVALID_ARG' })
    }
  })
})

describe("PyCoffer's passwords", () => {
  it('are refused where there are none', async () => {
    const { passwords } = await newPasswords()
    await expect(passwords.importPyCoffer()).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_NOT_FOUND',
      member: '.plugins/passwd',
    })
  })

  it('replace what is there, or are refused', async () => {
    const { box, passwords } = await newPasswords()
    await box.write('.plugins/passwd', readFileSync(join(import.meta.dirname, 'fixtures/passwd-4.pickle')))
    await passwords.add({ name: 'mail', password: 'mine' })
    await expect(passwords.importPyCoffer({ replace: false })).rejects.toMatchObject({
      code: 'ERR_COFFER_MEMBER_EXISTS',
    })
    expect((await passwords.get({ name: 'mail' })).password).toBe('mine')
    expect(await passwords.importPyCoffer()).toEqual({ added: 2, replaced: 1 })
    expect(await box.has('.plugins/passwd')).toBe(true)
    expect(await passwords.importPyCoffer({ delete: true })).toEqual({ added: 0, replaced: 3 })
    expect(await box.has('.plugins/passwd')).toBe(false)
    expect((await passwords.get({ name: 'mail' })).password).toBe('hunter2')
  })

  it.skipIf(python === null).each(['bank', 'bank-aes-ocb', 'store', 'market'] as const)(
    'come from a %s that real PyCoffer wrote, and its coffer has them in CBOR afterwards',
    async (label) => {
      const kind = kindOf(label)
      const path = join(tempDir(), 'box.coffer')
      const keys = keysFor(kind)
      const secret = marker().toString('base64')
      const pycoffer = new PyCoffer()
      await pycoffer.open('maker', label, path, 'w', keys)
      const before = Date.now()
      await pycoffer.addPasswords('maker', [
        { name: 'mail', username: 'alice', password: secret, url: 'https://mail.example/', note: 'grüezi' },
        { name: 'mail', username: 'bob', password: '🗝️', owner: 'bob' },
      ])
      await pycoffer.close('maker')

      const box = await openKind(kind, path, 'a', keys, { legacy: true })
      const passwords = await box.plugin('password')
      expect(await passwords.importPyCoffer({ delete: true })).toEqual({ added: 2, replaced: 0 })
      const entry = await passwords.get({ name: 'mail' })
      expect(entry).toMatchObject({ username: 'alice', password: secret, url: 'https://mail.example/', note: 'grüezi' })
      expect(entry.ctime.getTime()).toBeGreaterThanOrEqual(before - 1_000)
      expect(entry.ctime.getTime()).toBeLessThanOrEqual(Date.now())
      expect(await passwords.get({ name: 'mail', owner: 'bob' })).toMatchObject({ password: '🗝️', note: null })
      await box.close()

      await pycoffer.open('reader', label, path, 'r', keys)
      expect(await pycoffer.loadCbor('reader', '.plugins/password')).toContain(`'password': '${secret}'`)
      await pycoffer.close('reader')
      await pycoffer.end()
    },
  )
})
