import type { NativeExtraction } from '../binding/native.ts'
import { checkBoolean, checkName, checkNames, checkOptions } from '../check.ts'
import { type WatchOptions, watchOptions } from '../progress.ts'
import { checkSizeLimits } from './options.ts'
import type { SkippedItem } from './writes.ts'

/** What {@link Coffer.extract} takes. */
export interface ExtractOptions extends WatchOptions {
  /**
   * Whether existing files are replaced: false by default. If not, an existing one is `ERR_COFFER_EXISTS`, and
   * nothing is written.
   */
  replace?: boolean | undefined
  /**
   * Whether files and directories get the exact modes of their members. By default the process's `umask`
   * is applied, and an existing directory keeps its mode.
   */
  preserve?: boolean | undefined
  /** The directory that names are relative to: from `a`, the member `a/b` is written to `b` below the target. */
  from?: string | undefined
  /**
   * The most bytes of a file: a larger one is `ERR_COFFER_TOO_LARGE`, and nothing is written. That of the handle by
   * default, which it cannot raise.
   */
  maxMemberSize?: number | undefined
  /** The most bytes of all files together, likewise. */
  maxTotalSize?: number | undefined
}

/** What {@link Coffer.extractAll} takes. */
export interface ExtractAllOptions extends ExtractOptions {
  /** Whether all members include the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean | undefined
}

/** The result of {@link Coffer.extract} and {@link Coffer.extractAll}. */
export interface ExtractResult {
  /** The number of files written. */
  files: number
  /** The number of directories that are members. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Modes and times that the system refused to set. The files and directories themselves are written. */
  skipped: SkippedItem[]
}

const extractOptions = ['replace', 'preserve', 'from', 'maxMemberSize', 'maxTotalSize', ...watchOptions] as const

/** Checks the arguments of {@link Coffer.extract}, and returns them in the engine's form. */
export function checkExtract(names: string | readonly string[], options: ExtractOptions): NativeExtraction {
  const list = typeof names === 'string' ? [checkName(names)] : checkNames(names, 'the names')
  return checkExtraction(list, false, checkOptions(options, 'extract', extractOptions))
}

/** The same for {@link Coffer.extractAll}. */
export function checkExtractAll(options: ExtractAllOptions): NativeExtraction {
  const { plugins } = checkOptions(options, 'extractAll', ['plugins', ...extractOptions])
  return checkExtraction(undefined, checkBoolean(plugins, 'plugins') ?? false, options)
}

function checkExtraction(
  names: string[] | undefined,
  plugins: boolean,
  { from, replace, preserve, ...limits }: ExtractOptions,
): NativeExtraction {
  return {
    names,
    recursive: true,
    from: from === undefined ? undefined : checkName(from, 'from'),
    plugins,
    replace: checkBoolean(replace, 'replace') ?? false,
    preserve: checkBoolean(preserve, 'preserve') ?? false,
    ...checkSizeLimits(limits),
  }
}
