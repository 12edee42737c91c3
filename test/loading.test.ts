import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

const dist = join(import.meta.dirname, '../dist')

/** What a file imports before it runs. */
function imports(file: string): string[] {
  const code = readFileSync(file, 'utf8')
  const statements = /^(?:(?:import|export)\b[^'"();]*from|import)\s*['"]([^'"]+)['"]/gm
  return [...code.matchAll(statements)].map(([, from]) => from as string)
}

/** Everything that is loaded with a file: its own files, and what is not its own. */
function loaded(start: string): { files: Set<string>; others: Set<string> } {
  const files = new Set<string>()
  const others = new Set<string>()
  const visit = (file: string): void => {
    if (files.has(file)) return
    files.add(file)
    for (const from of imports(file)) {
      if (from.startsWith('.')) visit(join(dirname(file), from))
      else others.add(from)
    }
  }
  visit(join(dist, start))
  return { files: new Set([...files].map((file) => relative(dist, file).replaceAll('\\', '/'))), others }
}

describe('importing the package', () => {
  const { files, others } = loaded('index.js')

  it('loads no other package', () => {
    expect(others).toContain('node:util')
    expect([...others].filter((from) => !from.startsWith('node:'))).toEqual([])
  })

  it('loads what few programs use when they use it', () => {
    const known = ['coffer/coffer.js', 'coffer/bank.js', 'cbor/encode.js', 'plugins/own.js', 'plugins/base.js']
    expect(known.filter((file) => !files.has(file))).toEqual([])
    const lazy = [
      'cbor/decode.js',
      'crypt/cryptor.js',
      'member/file.js',
      'coffer/info.js',
      'plugins/password.js',
      'rsync/plan.js',
    ]
    expect(lazy.filter((file) => files.has(file))).toEqual([])
  })
})

describe('importing a part of the package', () => {
  it.each(['entry/errors.js', 'entry/plugin.js'])('%s loads nothing of the binary, and few files', (entry) => {
    const { files, others } = loaded(entry)
    expect([...files].filter((file) => file.startsWith('binding/'))).toEqual([])
    expect(files.size).toBeLessThan(6)
    expect([...others].filter((from) => !from.startsWith('node:'))).toEqual([])
  })
})
