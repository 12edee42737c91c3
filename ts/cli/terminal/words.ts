/**
 * Names of the API in messages, and their replacements for the command line. Patterns are whole phrases,
 * so that no name of a member or file matches.
 */
const phrases: readonly (readonly [RegExp, string])[] = [
  [/\b(with|pass|longer than) lockTimeout\b/g, '$1 --lock-timeout'],
  [/\bpass legacy: true\b/gi, 'pass --legacy'],
  [/\bpass recursive to delete them\b/g, '-r deletes them'],
  [/\band symlinks is 'error'/g, 'and --symlinks says error'],
  [/\bpass delete, or exclude it\b/g, 'pass --delete, or --exclude it'],
  [/\bor pass plugins$/g, 'or pass --plugins'],
  [/: open it with 'a', 'w' or 'x' to make one$/g, ': coffer add makes one'],
  [/(?<=^|\bneeds a |\btakes no )cofferKey\b/g, 'coffer_key'],
  [/(?<=^|\bneeds a |\btakes no )secureKey\b/g, 'secure_key'],
  [/: open it with the class of its kind$/g, ': --type says which it is, unless the file was replaced'],
  [/: Coffer\w*\.generateKeys\(\) makes one\b/g, ': coffer generate makes one'],
]

/** Commands that write files and have --overwrite; the others write members and have --replace. */
const writingFiles = ['extract', 'crypt', 'decrypt']

/** A message of the API, in the terms of the command line. */
export function forShell(message: string, args: readonly string[]): string {
  const flag = args.some((arg) => writingFiles.includes(arg)) ? '--overwrite' : '--replace'
  let text = message
    .replace(/\bor allow replacing it\b/g, `or replace it with ${flag}`)
    .replace(/\bpass replace: true$/, `pass ${flag}`)
  for (const [phrase, words] of phrases) text = text.replace(phrase, words)
  return text
}
