import picomatch from 'picomatch'
import { CofferError } from '../errors.ts'
import type { Member } from '../member.ts'

/**
 * The members that any of the patterns means: a name, a directory with all below it, or a glob. A
 * glob without a slash is compared with the last component. No pattern means everything.
 *
 * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` if a pattern means nothing
 */
export function matching(members: readonly Member[], patterns: readonly string[]): Member[] {
  if (patterns.length === 0) return [...members]
  const tests = patterns.map((pattern) => {
    const directory = pattern.endsWith('/') ? pattern : `${pattern}/`
    const glob = picomatch(pattern, { dot: true, basename: !pattern.includes('/') })
    const test = ({ name }: Member) => name === pattern || `${name}/`.startsWith(directory) || glob(name)
    return { pattern, test, found: false }
  })
  const found = members.filter((member) => {
    let hit = false
    for (const one of tests) {
      if (!one.test(member)) continue
      one.found = true
      hit = true
    }
    return hit
  })
  const missed = tests.find((one) => !one.found)
  if (missed) throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `no member matches ${missed.pattern}`)
  return found
}
