import { invalid } from '../errors.ts'
import { type Pattern, parsePattern } from './pattern.ts'

/** Whether patterns match a path, which may be that of a directory. */
type Matcher = (path: string, directory: boolean) => boolean

/** The verdict on a path: included, excluded, or open, if a path below it may be included. */
type Verdict = 'in' | 'out' | 'open'

/** Which paths of a tree take part. Paths are relative to the root of the tree, with `/` between components. */
export class Filter {
  readonly #included: Matcher
  readonly #excluded: Matcher
  readonly #root: Verdict
  readonly #single: boolean
  readonly #directories = new Map<string, Verdict>()

  /**
   * @param single whether the root takes part regardless of the patterns
   * @param reserved a path that never takes part
   */
  constructor(
    include: readonly string[] | undefined,
    exclude: readonly string[] | undefined,
    single: boolean,
    reserved?: string,
  ) {
    const excluded = matcher(checkPatterns(exclude, 'exclude'))
    this.#included = matcher(checkPatterns(include, 'include'))
    this.#excluded = (path, directory) => path === reserved || excluded(path, directory)
    this.#root = include === undefined ? 'in' : 'open'
    this.#single = single
  }

  /** Whether a path takes part: it or a directory above it is included, and none of them excluded. */
  takes(path: string, directory: boolean): boolean {
    return (this.#single && path === '') || this.#judge(path, directory) === 'in'
  }

  /** Whether something below a directory may take part. */
  enters(directory: string): boolean {
    return this.#directory(directory) !== 'out'
  }

  #judge(path: string, directory: boolean): Verdict {
    if (path === '') return this.#root
    const above = this.#directory(parentOf(path))
    if (above === 'out' || this.#excluded(path, directory)) return 'out'
    return above === 'in' || this.#included(path, directory) ? 'in' : 'open'
  }

  #directory(path: string): Verdict {
    let verdict = this.#directories.get(path)
    if (verdict === undefined) {
      verdict = this.#judge(path, true)
      this.#directories.set(path, verdict)
    }
    return verdict
  }
}

/** The parent directory of a path; the root is the empty path. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** Checks the patterns of an option, which are none by default. */
export function checkPatterns(
  patterns: readonly string[] | undefined,
  what: 'include' | 'exclude',
): readonly Pattern[] {
  if (patterns === undefined) return []
  if (!Array.isArray(patterns) || patterns.some((pattern) => typeof pattern !== 'string' || pattern === '')) {
    throw invalid(`${what} must be an array of patterns such as '*.tmp'`)
  }
  return patterns.map((pattern: string) => parsePattern(pattern, what))
}

function matcher(patterns: readonly Pattern[]): Matcher {
  return (path, directory) => patterns.some(({ paths, directories }) => (directory || !directories) && paths.test(path))
}
