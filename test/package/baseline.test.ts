import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { run } from './support/run.ts'
import { User } from './support/user.ts'

const emulator = 'qemu-x86_64-static'
const here = process.platform === 'linux' && process.arch === 'x64'
const emulated = here && spawnSync(emulator, ['--version']).status === 0

/** A coffer of each kind and cipher is made, read again and verified. */
const program = `
  import { randomBytes } from 'node:crypto'
  import { CofferBank, CofferMarket, CofferNull, CofferStore } from 'coffer'

  const data = Buffer.concat([randomBytes(300_000), Buffer.alloc(500_000, 'abc')])
  for (const [kind, options] of [
    [CofferBank, {}], [CofferBank, { cipher: 'aes-ocb' }], [CofferStore, {}], [CofferMarket, {}], [CofferNull, {}],
  ]) {
    const keys = kind === CofferNull ? {} : kind.generateKeys(options)
    const path = \`\${kind.name}-\${options.cipher}.coffer\`
    const made = await kind.open(path, 'x', { ...keys, ...options })
    await made.write('data', data)
    await made.close()
    const read = await kind.open(path, 'r', { ...keys, ...options })
    if (!(await read.read('data')).equals(data)) throw new Error('other bytes')
    await read.verify()
    await read.close()
    console.log(kind.name)
  }`

describe.runIf(emulated)('on a processor that has nothing but the baseline of x86-64', () => {
  let user: User

  beforeAll(async () => {
    user = new User(inject('registry'))
    await user.npm('install', 'coffer')
    user.save('kinds.mjs', program)
  })
  afterAll(() => user.leave())

  it('every kind and cipher works: what is faster elsewhere is detected when it runs', async () => {
    const args = ['-cpu', 'qemu64', process.execPath, join(user.folder, 'kinds.mjs')]
    const { status, stdout, stderr } = await run(emulator, args, { cwd: user.folder })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual(['CofferBank', 'CofferBank', 'CofferStore', 'CofferMarket', 'CofferNull', ''])
  })
})
