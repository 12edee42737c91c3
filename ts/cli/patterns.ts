import { CofferError } from '../errors.ts'
import { compileGlob, isGlob } from '../member/glob.ts'
import { isOfPlugins, type Member } from '../member/member.ts'
import { asksForPlugins, memberName } from './names.ts'
import { escaped } from './terminal/output.ts'

/**
 * The members that match any of the patterns: a name, a directory with everything below it, or a glob. A
 * pattern that is the name of a member matches only that, even if it has glob characters. A glob without
 * a slash is compared with the last component. Without patterns all members match. Records of plugins
 * match if a pattern names them, or with `plugins`.
 *
 * @throws {CofferError} `ERR_COFFER_MEMBER_NOT_FOUND` if a pattern matches no member
 */
export function matching(members: readonly Member[], patterns: readonly string[], plugins = false): Member[] {
  const takesPart = ({ name }: Member): boolean => plugins || !isOfPlugins(name)
  if (patterns.length === 0) return members.filter(takesPart)
  const found = new Set<Member>()
  const chosen = patterns.map((text) => ({ text, name: memberName(text), all: asksForPlugins(text), hit: false }))
  const byName = new Map<string, Member[]>()
  for (const member of members) {
    const { name } = member
    for (let end = name.length; end > 0; end = name.lastIndexOf('/', end - 1)) {
      const above = name.slice(0, end)
      const list = byName.get(above)
      if (list === undefined) byName.set(above, [member])
      else list.push(member)
    }
  }
  for (const one of chosen) {
    const literal = one.name === '.' ? members.filter(takesPart) : byName.get(one.name)
    const candidates = literal ?? (isGlob(one.name) ? matched(members, one.name, one.all ? undefined : takesPart) : [])
    if (candidates.length === 0 && one.name !== '.') {
      throw new CofferError('ERR_COFFER_MEMBER_NOT_FOUND', `no member matches ${escaped(one.text)}`)
    }
    for (const member of candidates) found.add(member)
  }
  return members.filter((member) => found.has(member))
}

function matched(members: readonly Member[], glob: string, takesPart = (_: Member): boolean => true): Member[] {
  const matches = compiled(glob)
  return members.filter((member) => matches(member.name) && takesPart(member))
}

/** Compiles a glob as the command line has it: one without a slash is compared with the last component of a name. */
export function compiled(glob: string): (name: string) => boolean {
  const matches = compileGlob(glob)
  return glob.includes('/') ? matches : (name) => matches(name.slice(name.lastIndexOf('/') + 1))
}
