import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { User } from '../support/cli.ts'

/** A user whose coffer has two members, each in a commit of its own. */
async function withMembers(): Promise<User> {
  const user = new User()
  await user.ok(['generate', 'vault', '--type', 'store', '--write'])
  for (const name of ['first.txt', 'second.txt']) {
    user.file(name, `${name}\n`.repeat(1000))
    await user.ok(['add', name])
  }
  return user
}

const vault = (user: User): string => user.path('vault.coffer')

describe('coffer salvage', () => {
  it('brings everything over where nothing is damaged', async () => {
    const user = await withMembers()
    const { code, stdout, stderr } = await user.run(['salvage', 'rescued.coffer'])
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    expect(stderr).toContain('salvaged 2 members')
    user.file('.cofferrc', user.read('.cofferrc').replaceAll('vault.coffer', 'rescued.coffer'))
    const other = await user.run(['ls'])
    expect(other.code).toBe(4)
    const [, id = ''] = /its archive id is ([0-9a-f]{32}), .* change archive_id in the section/.exec(other.stderr) ?? []
    user.file('.cofferrc', user.read('.cofferrc').replace(/archive_id: .*/, `archive_id: ${id}`))
    expect(await user.ok(['ls'])).toBe('first.txt\nsecond.txt\n')
    expect((await user.run(['salvage', 'rescued.coffer'])).code).toBe(1)
  })

  it('lists what is lost, and says so with exit code 4', async () => {
    const user = await withMembers()
    const file = readFileSync(vault(user))
    // The block before the second commit.
    const at = file.lastIndexOf('cofC') - 40
    file.writeUInt8(file.readUInt8(at) ^ 1, at)
    writeFileSync(vault(user), file)
    const text = await user.run(['salvage', 'rescued.coffer'])
    expect(text).toMatchObject({ code: 4, stdout: 'lost: second.txt (damaged)\n' })
    expect(existsSync(user.path('rescued.coffer'))).toBe(true)
    const { code, stdout, stderr } = await user.run(['salvage', 'again.coffer', '--json'])
    expect({ code, stderr }).toEqual({ code: 4, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({
      members: 1,
      lost: [{ name: 'second.txt', reason: 'damaged', damage: [{}] }],
      complete: true,
    })
    expect((await user.run(['salvage', 'quiet.coffer', '--quiet'])).stdout).toBe('lost: second.txt (damaged)\n')
  })

  it('works without a header where the kind is said, and tells what no commit vouches for', async () => {
    const user = await withMembers()
    const file = readFileSync(vault(user))
    for (const tag of ['cofH', 'cofK', 'cofC', 'cofF']) {
      for (let at = file.indexOf(tag); at >= 0; at = file.indexOf(tag)) file.fill(0, at, at + 28)
    }
    writeFileSync(vault(user), file)
    const { code, stdout, stderr } = await user.run(['salvage', 'rescued.coffer', '--type', 'store'])
    const unverified = 'unverified: .salvaged/first.txt\nunverified: .salvaged/second.txt\n'
    expect({ code, stdout }).toEqual({ code: 4, stdout: unverified })
    expect(stderr).toContain('no commit could be read')
    const claimed = await user.run(['salvage', 'claimed.coffer', '--type', 'store', '--claimed-names'])
    expect(claimed).toMatchObject({ code: 4, stdout: 'unverified: first.txt\nunverified: second.txt\n' })
  })

  it('says with exit code 4 that a member was kept apart, also where nothing is lost', async () => {
    const user = await withMembers()
    const file = readFileSync(vault(user))
    await user.ok(['delete', 'second.txt', '--force'])
    // The block of what was deleted, out of a backup, behind the end.
    const last = file.lastIndexOf('cofC')
    const block = file.subarray(file.lastIndexOf('cofC', last - 1), last - 4)
    writeFileSync(vault(user), Buffer.concat([readFileSync(vault(user)), block]))
    const { code, stdout } = await user.run(['salvage', 'rescued.coffer'])
    expect({ code, stdout }).toEqual({ code: 4, stdout: 'unverified: .salvaged/second.txt\n' })
  })

  it('refuses another key, and what is no coffer', async () => {
    const user = await withMembers()
    const other = await withMembers()
    const wrong = await other.run(['salvage', 'rescued.coffer', '--file', vault(user)], {
      env: { COFFER_KEY: Buffer.alloc(32, 7).toString('base64') },
    })
    expect(wrong.code).toBe(3)
    writeFileSync(vault(user), 'no coffer')
    expect((await user.run(['salvage', 'rescued.coffer', '--type', 'store'])).code).toBe(4)
    expect(existsSync(user.path('rescued.coffer'))).toBe(false)
  })
})
