import { isOfPlugins } from '../member/member.ts'

/**
 * Normalizes a name of a member on the command line: `./x`, `x/` and `x//y` are `x`, `x` and `x/y`, as for
 * files. `.` and `/` are `.`, the whole coffer.
 */
export function memberName(text: string): string {
  const components = text.split('/').filter((component) => component !== '' && component !== '.')
  return components.join('/') || '.'
}

/** The given names; undefined for all members, if there are none or one is `.`. */
export function memberNames(texts: readonly string[]): string[] | undefined {
  const names = texts.map(memberName)
  return names.length === 0 || names.includes('.') ? undefined : names
}

/** Whether a name or pattern is in the directory with the records of plugins. */
export function asksForPlugins(text: string): boolean {
  return isOfPlugins(memberName(text))
}
