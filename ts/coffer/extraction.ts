import type { NativeExtraction } from '../binding/native.ts'
import { checkBoolean, checkName, checkNames, checkOptions } from '../check.ts'
import { type WatchOptions, watchOptions } from '../progress.ts'
import { checkSizeLimits } from './options.ts'
import type { Skipped } from './writes.ts'

/** What {@link Coffer.extract} takes. */
export interface ExtractOptions extends WatchOptions {
  /**
   * Whether existing files are replaced: true by default. If not, an existing one is `ERR_COFFER_EXISTS`, and
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
  /** The most bytes of a file: a larger one is `ERR_COFFER_TOO_LARGE`, and nothing is written. No limit by default. */
  maxMemberSize?: number | undefined
  /** The most bytes of all files together, likewise. No limit by default. */
  maxTotalSize?: number | undefined
}

/** What {@link Coffer.extractAll} takes. */
export interface ExtractAllOptions extends ExtractOptions {
  /** The names of the members to extract, directories with everything below them; all members by default. */
  members?: readonly string[] | undefined
  /** Whether all members include the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean | undefined
}

/** The result of {@link Coffer.extract} and {@link Coffer.extractAll}. */
export interface Extracted {
  /** The number of files written. */
  files: number
  /** The number of directories that are members. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Modes and times that the system refused to set. The files and directories themselves are written. */
  skipped: Skipped[]
}

const extractOptions = ['replace', 'preserve', 'from', 'maxMemberSize', 'maxTotalSize', ...watchOptions] as const

/** Checks the arguments of {@link Coffer.extract}, and returns them in the engine's form. */
export function checkExtract(name: string, options: ExtractOptions): NativeExtraction {
  checkName(name)
  return checkExtraction([name], false, checkOptions(options, 'extract', extractOptions))
}

/** The same for {@link Coffer.extractAll}. */
export function checkExtractAll(options: ExtractAllOptions): NativeExtraction {
  const { members, plugins } = checkOptions(options, 'extractAll', ['members', 'plugins', ...extractOptions])
  return checkExtraction(checkNames(members), checkBoolean(plugins, 'plugins') ?? false, options)
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
    replace: checkBoolean(replace, 'replace') ?? true,
    preserve: checkBoolean(preserve, 'preserve') ?? false,
    ...checkSizeLimits(limits),
  }
}
