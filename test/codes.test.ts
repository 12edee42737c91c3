/**
 * The documentation of each call lists the codes that it can give: `@throws` in the declarations. Calls are made in
 * states in which they fail; what they fail with must be listed, and what is listed must have come.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CofferError } from './support/coffer.ts'
import { documented, errorCodes, textIn } from './support/documented.ts'
import { misuses, special } from './support/failing-calls.ts'
import { type Attempt, attempts, template } from './support/failing-states.ts'

const listed = documented()

/** The codes that a call gives only where this package cannot bring it, with the reason and the test that does. */
const hard: readonly { why: string; code: string; calls: readonly string[] }[] = [
  {
    why: 'the counts and the list of members of a coffer come to their end: crates/coffer-core/src/engine/container/commit.rs',
    code: 'ERR_COFFER_LIMIT',
    calls: [
      ...['write', 'writeMany', 'append', 'writeLines', 'add', 'delete', 'batch', 'file'].map(ofCoffer),
      ofCoffer('createWriteStream'),
      ...['flush', 'close', 'Symbol.asyncDispose', 'compact', 'rekey', 'changePassphrase'].map(ofCoffer),
      ...['write', 'writeMany', 'append', 'writeLines', 'add', 'delete'].map((call) => `CofferBatch.${call}`),
      ...['write', 'writeFile', 'appendFile', 'createWriteStream', 'writableWebStream', 'close'].map(ofFile),
      ofFile('Symbol.asyncDispose'),
      'RsyncPlugin.push',
    ],
  },
  {
    why: 'there is no memory, or a line is longer than any string: crates/coffer-core/src/engine/member.rs, test/limits.test.ts',
    code: 'ERR_COFFER_LIMIT',
    calls: [
      ...['read', 'readLines', 'createReadStream', 'extract', 'extractAll'].map(ofCoffer),
      ...['read', 'readLines', 'createReadStream'].map((call) => `CofferBatch.${call}`),
      ...['read', 'readLines', 'createReadStream', 'readableWebStream'].map(ofFile),
      ...['encrypt', 'decrypt', 'createEncryptStream', 'createDecryptStream'].flatMap((call) => [
        `Cryptor.${call}`,
        `CryptPlugin.${call}`,
      ]),
      'RsyncPlugin.pull',
      'exportTar',
      'deriveKeys',
    ],
  },
  {
    why: 'the file system does not tell two names apart: crates/coffer-core/src/ops/extract/tests.rs',
    code: 'ERR_COFFER_NAME_COLLISION',
    calls: ['Coffer.extract', 'Coffer.extractAll', 'RsyncPlugin.pull'],
  },
  {
    why: 'PyCoffer would have to seal an unsafe name: the open of the other classes has it without',
    code: 'ERR_COFFER_UNSAFE_PATH',
    calls: ['CofferBank.open', 'CofferStore.open'],
  },
  { why: 'the system refuses fstat on an open file', code: 'ERR_COFFER_IO', calls: ['Coffer.info'] },
]

function ofCoffer(call: string): string {
  return `Coffer.${call}`
}

function ofFile(call: string): string {
  return `CofferFile.${call}`
}

describe('the text after @throws', () => {
  it('has codes, short and long, those of other calls, and exceptions from them', () => {
    const { codes, as, except } = textIn(
      '{@link CofferError} `ERR_COFFER_A_B` if (see {@link batch}), `…_C`. And as {@link d.e} and {@link f} except `…_G` and `…_H`, and as {@link i}',
    )
    expect([...codes]).toEqual(['ERR_COFFER_A_B', 'ERR_COFFER_C'])
    expect([...except]).toEqual(['ERR_COFFER_G', 'ERR_COFFER_H'])
    expect(as).toEqual(['d.e', 'f', 'i'])
  })

  it('is found for the calls of every class', () => {
    expect(listed.get('Coffer.read')).toContain('ERR_COFFER_STALE')
    expect(listed.get('CofferBatch.read')).toContain('ERR_COFFER_BATCH_ENDED')
    expect(listed.get('CofferBank.open')).toContain('ERR_COFFER_WRONG_KEY')
    expect(listed.get('importTar')).toContain('ERR_COFFER_POISONED')
  })
})

it('calls without codes are those that cannot fail', () => {
  expect([...listed].filter(([, codes]) => codes.size === 0).map(([call]) => call)).toEqual([
    ...['closed', 'head', 'modified', 'mtime', 'notices', 'readable', 'writable'].map(ofCoffer),
    ...['abort', 'closed'].map(ofFile),
    // What a plugin implements for its base.
    ...['empty', 'restore', 'stored'].map((call) => `PasswordPlugin.${call}`),
    ...['Symbol.asyncDispose', 'close', 'closed'].map((call) => `Plugin.${call}`),
    ...['empty', 'restore', 'stored'].map((call) => `RecordPlugin.${call}`),
  ])
})

describe('every code', () => {
  const table = readFileSync(new URL('../docs/api.md', import.meta.url), 'utf8')
  // The import of the package gives it, and no call.
  const ofImport = 'ERR_COFFER_NO_BINARY'
  const ofCalls = new Set([...listed.values()].flatMap((codes) => [...codes]))

  it.each(errorCodes())('%s is in the table of docs/api.md, and in the documentation of a call', (code) => {
    expect(table).toContain(`\n| \`${code}\` | `)
    if (code !== ofImport) expect(ofCalls).toContain(code)
  })

  it('that the documentation of a call has is one', () => {
    const known = new Set(errorCodes())
    expect([...ofCalls].filter((code) => !known.has(code))).toEqual([])
  })
})

/** Whether RLIMIT_FSIZE of this process can be set. */
const canLimit = spawnSync('prlimit', ['--version']).status === 0

/** Lets this process write no file longer than this, as RLIMIT_FSIZE has it. */
function limitFiles(bytes: number | 'unlimited'): void {
  expect(spawnSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${bytes}:`]).status).toBe(0)
}

/** How many calls are made at the same time. */
const AT_ONCE = 8

// It takes links, locks that can be removed, and the descriptors of a process as files.
describe.runIf(process.platform === 'linux')('a call', () => {
  /** What each call failed with, and what it should not have done. */
  const given = new Map<string, Set<string>>()
  const wrong = new Map<string, string[]>()
  let directory = ''

  beforeAll(async () => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'coffer-codes-')))
    const file = await template(join(directory, 'template'))
    let count = 0
    const own = new Set([...special, ...misuses(listed)])
    const make = async (attempt: Attempt): Promise<void> => {
      const { call, code, fail } = attempt
      count += 1
      const place = join(directory, `${count}`)
      mkdirSync(place)
      writeFileSync(join(place, 'box.coffer'), file)
      const error = await fail({ at: (name) => join(place, name), path: join(place, 'box.coffer') }).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      const got = error instanceof CofferError ? error.code : error
      if (error instanceof CofferError) given.set(call, (given.get(call) ?? new Set()).add(error.code))
      const isListed = error instanceof CofferError && listed.get(call)?.has(error.code)
      if (own.has(attempt) ? got !== code : error !== undefined && !isListed) {
        wrong.set(call, [
          ...(wrong.get(call) ?? []),
          `made to give ${code}, it gave ${error instanceof CofferError ? error.code : ''} ${String(error)}`,
        ])
      }
      rmSync(place, { recursive: true, force: true })
    }
    const all = [...attempts, ...own]
    for (const attempt of all) if (attempt.alone) await make(attempt)
    if (canLimit) {
      limitFiles(file.length)
      try {
        for (const attempt of all) if (attempt.full) await make(attempt)
      } finally {
        limitFiles('unlimited')
      }
    }
    const rest = all.filter(({ alone, full }) => !alone && !full)
    const some = async (): Promise<void> => {
      for (let attempt = rest.pop(); attempt; attempt = rest.pop()) await make(attempt)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, some))
  })

  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  it.each([...listed.keys()])('%s fails with the codes that its documentation has, and with no other', (call) => {
    const codes = listed.get(call) ?? new Set()
    expect((wrong.get(call) ?? []).join('\n')).toBe('')
    const elsewhere = hard.filter(({ calls }) => calls.includes(call)).map(({ code }) => code)
    for (const code of elsewhere) expect(given.get(call) ?? new Set(), `${code} is said to be hard`).not.toContain(code)
    const missing = [...codes].filter((code) => !given.get(call)?.has(code))
    expect(missing.filter((code) => canLimit || code !== 'ERR_COFFER_IO').sort()).toEqual(elsewhere.sort())
  })
})

it('what is hard to bring about is documented', () => {
  const unknown = hard.flatMap(({ calls, code }) => calls.filter((call) => !listed.get(call)?.has(code)))
  expect(unknown).toEqual([])
})
