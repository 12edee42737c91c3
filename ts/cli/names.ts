import { isOfPlugins } from '../member/member.ts'

/**
 * The name of a member, as people type it: `./x`, `x/` and `x//y` mean `x`, `x` and `x/y`, as they do
 * for files. What is left of `.` or `/` is `.`, the whole coffer.
 */
export function memberName(text: string): string {
  const components = text.split('/').filter((component) => component !== '' && component !== '.')
  return components.join('/') || '.'
}

/** The names that are given; undefined for everything, which no names and `.` mean. */
export function memberNames(texts: readonly string[]): string[] | undefined {
  const names = texts.map(memberName)
  return names.length === 0 || names.includes('.') ? undefined : names
}

/** Whether a name or pattern asks for what plugins keep. */
export function asksForPlugins(text: string): boolean {
  return isOfPlugins(memberName(text))
}
