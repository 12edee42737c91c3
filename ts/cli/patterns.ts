import picomatch from 'picomatch'
import { CofferError } from '../errors.ts'
import type { Member } from '../member.ts'

interface Pattern {
  readonly text: string
  found: boolean
}

/**
 * The members that any of the patterns means: a name, a directory with all below it, or a glob. A
 * glob without a slash is compared with the last component. What is a name or a directory is no glob
 * as well. No pattern means everything.
 *
 * Names are looked up, member by member: only globs are compared with each.
 *
 * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` if a pattern means nothing
 */
export function matching(members: readonly Member[], patterns: readonly string[]): Member[] {
  if (patterns.length === 0) return [...members]
  const wanted = patterns.map((text): Pattern => ({ text, found: false }))
  const names = new Map<string, Pattern[]>()
  for (const pattern of wanted) {
    const name = pattern.text.endsWith('/') ? pattern.text.slice(0, -1) : pattern.text
    const same = names.get(name)
    if (same) same.push(pattern)
    else names.set(name, [pattern])
  }
  const named = new Set<Member>()
  for (const member of members) {
    for (const path of withParents(member.name)) {
      const patterns = names.get(path)
      if (patterns === undefined) continue
      for (const pattern of patterns) pattern.found = true
      named.add(member)
    }
  }
  const globs = wanted
    .filter(({ text, found }) => !found && (picomatch.scan(text).isGlob || text.includes('\\')))
    .map((pattern) => ({
      pattern,
      test: picomatch(pattern.text, { dot: true, basename: !pattern.text.includes('/') }),
    }))
  const found = members.filter((member) => {
    let hit = named.has(member)
    for (const { pattern, test } of globs) {
      if (!test(member.name)) continue
      pattern.found = true
      hit = true
    }
    return hit
  })
  const missed = wanted.find((pattern) => !pattern.found)
  if (missed) throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `no member matches ${missed.text}`)
  return found
}

/** A name, and the directories above it. */
function* withParents(name: string): Generator<string, void, undefined> {
  yield name
  for (let at = name.lastIndexOf('/'); at > 0; at = name.lastIndexOf('/', at - 1)) yield name.slice(0, at)
}
