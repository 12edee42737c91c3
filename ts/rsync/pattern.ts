import { invalid } from '../errors.ts'

/** A pattern of .gitignore. */
export interface Pattern {
  /** What it matches: whole paths, with `/` between components. */
  readonly paths: RegExp
  /** Whether only directories match. */
  readonly directories: boolean
}

/** The most characters of a pattern. */
const MOST = 4096

/**
 * Parses a pattern of .gitignore. Without a slash, or with one only at its end, it matches a name in any
 * directory, otherwise a path from the root of the tree. A slash at the end matches only directories.
 *
 * @param what the name of the option, for errors
 * @throws {CofferError} `ERR_COFFER_INVALID_ARG` for a pattern that can match nothing, or that shells
 *   interpret differently
 */
export function parsePattern(pattern: string, what: string): Pattern {
  const fail = (why: string): Error =>
    invalid(
      `${what} has a pattern that ${why}: patterns are those of .gitignore, such as '*.tmp', '/build' and 'src/**'`,
    )
  if (pattern.length > MOST) throw fail(`has more than ${MOST} characters`)
  if (pattern.startsWith('!'))
    throw fail("begins with '!': write '\\!' for a name that does, and use include to take something")
  if (alternatives.test(pattern))
    throw fail("has '{a,b}' or '(a|b)': give several patterns, or put '\\' before a bracket of a name")
  const directories = pattern.endsWith('/')
  const body = directories ? pattern.slice(0, -1) : pattern
  const anchored = body.includes('/')
  const components = (body.startsWith('/') ? body.slice(1) : body).split('/')
  let source = anchored ? '' : '(?:.*/)?'
  components.forEach((component, index) => {
    const last = index === components.length - 1
    if (component === '') throw fail('has an empty component')
    if (component === '.' || component === '..') throw fail(`has '${component}', which no path in a tree has`)
    if (/^\*{2,}$/.test(component)) source += last ? '.+' : '(?:.*/)?'
    else source += `${componentSource(component, fail)}${last ? '' : '/'}`
  })
  try {
    return { paths: new RegExp(`^${source}$`, 'su'), directories }
  } catch {
    throw fail("has a range such as '[z-a]', in which nothing is")
  }
}

/** Alternatives of shells, which are literal in .gitignore. */
const alternatives = /(?<!\\)\{[^{}[\]]*(?:,|\.\.)[^{}[\]]*\}|(?<!\\)(?:[@+!]\([^()]*\)|[*?]\([^()]*\|[^()]*\))/

/** Translates a component of a pattern to the source of a regular expression. */
function componentSource(component: string, fail: (why: string) => Error): string {
  const characters = [...component]
  let source = ''
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] ?? ''
    if (character === '*') {
      if (characters[at - 1] !== '*' || !source.endsWith('[^/]*')) source += '[^/]*'
    } else if (character === '?') source += '[^/]'
    else if (character === '[') {
      const [set, end] = setSource(characters, at, fail)
      source += set
      at = end
    } else if (character === '\\') {
      at += 1
      const next = characters[at]
      if (next === undefined) throw fail("ends with '\\'")
      source += literal(next)
    } else source += literal(character)
  }
  return source
}

const classes: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\s',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
}

/** Translates a set of characters, such as `[!a-z]`, that begins at `start`; returns its source and its end. */
function setSource(characters: readonly string[], start: number, fail: (why: string) => Error): [string, number] {
  let at = start + 1
  const negated = characters[at] === '!' || characters[at] === '^'
  if (negated) at += 1
  let set = ''
  for (let first = true; ; first = false) {
    let character = characters[at]
    if (character === undefined) throw fail("has a '[' without its ']': put '\\' before that of a name")
    if (character === ']' && !first) break
    if (character === '[' && characters[at + 1] === ':') {
      const end = characters.indexOf(']', at)
      const name = characters.slice(at + 2, end - 1).join('')
      const known = characters[end - 1] === ':' && Object.hasOwn(classes, name) ? classes[name] : undefined
      if (known === undefined) throw fail('has a class of characters that does not exist')
      set += known
      at = end + 1
      continue
    }
    if (character === '-' && !first && characters[at + 1] !== ']' && set !== '') {
      set += '-'
      at += 1
      continue
    }
    if (character === '\\') {
      at += 1
      character = characters[at]
      if (character === undefined) throw fail("has a '[' without its ']'")
    }
    set += literal(character)
    at += 1
  }
  // No set matches a slash.
  return [`(?!/)[${negated ? '^' : ''}${set}]`, at]
}

/** A literal character in a regular expression, also in a set. */
function literal(character: string): string {
  return /[\w\s]/.test(character) ? character : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}
