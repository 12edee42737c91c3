import { shown } from '../check.ts'
import { invalid } from '../errors.ts'

/** Checks that a value is a glob: any string is one. */
export function checkGlob(glob: string): string {
  if (typeof glob !== 'string' || glob === '')
    throw invalid(`glob must be a string, not ${glob === '' ? 'an empty one' : shown(glob)}`)
  return glob
}

/** Whether a text has a character with a meaning in a glob. */
export function isGlob(text: string): boolean {
  return /[*?[\\]/.test(text)
}

/** The beginning of a glob up to its first character with a meaning: every name that matches begins with it. */
export function literalPrefix(glob: string): string {
  const at = glob.search(/[*?[\\]/)
  return at < 0 ? glob : glob.slice(0, at)
}

/**
 * Compiles a glob, which a whole name must match: `*` matches any characters of a component, `?` one character,
 * `[a-z]` one of a set, `[!a-z]` one outside of it, and a component `**` any number of components. A backslash
 * makes the next character literal. All other characters are literal, also in an incomplete set: no glob is an
 * error.
 */
export function compileGlob(glob: string): (name: string) => boolean {
  const components = glob.split('/').map((component) => (component === '**' ? component : parts(component)))
  return (name) => matchComponents(components, name.split('/'))
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
