import { CofferError } from '../errors.ts'
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

function isGlob(text: string): boolean {
  return /[*?[\\]/.test(text)
}

function matched(members: readonly Member[], glob: string, takesPart = (_: Member): boolean => true): Member[] {
  const matches = compiled(glob)
  return members.filter((member) => matches(member.name) && takesPart(member))
}

/**
 * Compiles a glob: `*` matches any characters of a component, `?` one character, `[a-z]` one of a set,
 * `[!a-z]` one outside of it, and a component `**` any number of components. A backslash makes the next
 * character literal. All other characters are literal, also in an incomplete set: no glob is an error.
 */
export function compiled(glob: string): (name: string) => boolean {
  const whole = glob.includes('/')
  const components = glob.split('/').map((component) => (component === '**' ? component : parts(component)))
  return (name) => {
    const path = whole ? name.split('/') : [name.slice(name.lastIndexOf('/') + 1)]
    return matchComponents(components, path)
  }
}

/** The test of one character of a component, or `*` for any number of characters. */
type Part = '*' | ((character: string) => boolean)

function matchComponents(globs: readonly ('**' | Part[])[], path: readonly string[]): boolean {
  return matches(
    globs,
    path,
    (glob) => glob === '**',
    (glob, component) =>
      glob !== '**' &&
      matches(
        glob,
        [...component],
        (part) => part === '*',
        (part, character) => part !== '*' && part(character),
      ),
  )
}

/**
 * Matches a sequence with a pattern in which some parts match any number of items, in at most the product of
 * their lengths in steps.
 */
function matches<P, I>(
  pattern: readonly P[],
  items: readonly I[],
  isAny: (part: P) => boolean,
  fits: (part: P, item: I) => boolean,
): boolean {
  let [at, item] = [0, 0]
  // The last part that matches any number, and the item after those it matches: backtracking adds one.
  let [any, from] = [-1, 0]
  while (item < items.length) {
    const part = pattern[at]
    if (at < pattern.length && isAny(part as P)) {
      any = at
      from = item
      at += 1
    } else if (at < pattern.length && fits(part as P, items[item] as I)) {
      at += 1
      item += 1
    } else if (any >= 0) {
      from += 1
      at = any + 1
      item = from
    } else return false
  }
  while (at < pattern.length && isAny(pattern[at] as P)) at += 1
  return at === pattern.length
}

function parts(component: string): Part[] {
  const found: Part[] = []
  const characters = [...component]
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] ?? ''
    const end = character === '[' ? classEnd(characters, at) : -1
    if (character === '*') found.push('*')
    else if (character === '?') found.push(() => true)
    else if (end > 0) {
      found.push(oneOf(characters.slice(at + 1, end)))
      at = end
    } else if (character === '\\' && at + 1 < characters.length) {
      at += 1
      const meant = characters[at]
      found.push((other) => other === meant)
    } else found.push((other) => other === character)
  }
  return found
}

/** The end of a set that begins at a bracket; a closing bracket at its beginning is literal. -1 if it has no end. */
function classEnd(characters: readonly string[], at: number): number {
  const first = at + (characters[at + 1] === '!' || characters[at + 1] === '^' ? 2 : 1)
  return characters.indexOf(']', first + 1)
}

function oneOf(inside: readonly string[]): (character: string) => boolean {
  const negated = inside[0] === '!' || inside[0] === '^'
  const members = negated ? inside.slice(1) : inside
  return (character) => {
    let hit = false
    for (let at = 0; at < members.length; at += 1) {
      const [low = '', dash, high] = members.slice(at, at + 3)
      if (dash === '-' && high !== undefined) {
        hit ||= low <= character && character <= high
        at += 2
      } else hit ||= low === character
    }
    return hit !== negated
  }
}
