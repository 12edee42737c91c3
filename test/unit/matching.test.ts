import { describe, expect, it } from 'vitest'
import { matching } from '../../ts/cli/patterns.ts'
import type { Member } from '../../ts/member/member.ts'

/** Members of these names, which count how often a name is asked for. */
function counting(names: readonly string[]): { members: Member[]; asked: () => number } {
  let asked = 0
  const members = names.map((name) => {
    const member = { type: 'file' } as Member
    Object.defineProperty(member, 'name', {
      get: () => {
        asked += 1
        return name
      },
    })
    return member
  })
  return { members, asked: () => asked }
}

function found(names: readonly string[], patterns: readonly string[]): string[] {
  return matching(counting(names).members, patterns).map(({ name }) => name)
}

describe('the members that patterns mean', () => {
  const names = ['!imp', 'a (1).txt', 'a 1.txt', 'dir', 'reports/2024/a.txt', 'reports/b', 'reports2', 'x*y', 'xzy']

  it('are those of a name, of a directory, and of a glob, in their order', () => {
    expect(found(names, [])).toEqual(names)
    expect(found(names, ['reports'])).toEqual(['reports/2024/a.txt', 'reports/b'])
    expect(found(names, ['reports/', 'dir/'])).toEqual(['dir', 'reports/2024/a.txt', 'reports/b'])
    expect(found(names, ['xzy', 'reports/2024', 'xzy'])).toEqual(['reports/2024/a.txt', 'xzy'])
    expect(found(names, ['*.txt'])).toEqual(['a (1).txt', 'a 1.txt', 'reports/2024/a.txt'])
    expect(found(names, ['reports/*'])).toEqual(['reports/b'])
    expect(found(names, ['x\\*y'])).toEqual(['x*y'])
  })

  it('are those of a name alone where a pattern is one', () => {
    expect(found(names, ['!imp'])).toEqual(['!imp'])
    expect(found(names, ['a (1).txt'])).toEqual(['a (1).txt'])
    expect(found(names, ['x*y'])).toEqual(['x*y'])
    expect(found(names, ['x?y'])).toEqual(['x*y', 'xzy'])
  })

  it.each([['missing'], ['!missing'], ['report'], ['2024'], ['*.pdf'], ['b/']])(
    'are none for %s, an error',
    (pattern) => {
      expect(() => found(names, ['dir', pattern])).toThrow(/no member matches/)
    },
  )

  it('are looked up, so that the names of many members are asked for a few times each, whatever the patterns', () => {
    const many = Array.from({ length: 5_000 }, (_, index) => `directory-${index % 100}/member-${index}`)
    for (const patterns of [many.slice(0, 1), many.slice(0, 2_000), [...many.slice(0, 300), '*-4999']]) {
      const { members, asked } = counting(many)
      expect(matching(members, patterns)).toHaveLength(patterns.includes('*-4999') ? 301 : patterns.length)
      expect(asked()).toBeLessThanOrEqual(3 * many.length)
    }
  })
})
