import type { NativeExtraction } from '../binding/native.ts'
import { checkBoolean, checkName, checkNames, checkOptions } from '../check.ts'
import { type WatchOptions, watchOptions } from '../progress.ts'
import { checkSizeLimits } from './options.ts'
import type { Skipped } from './writes.ts'

/** What {@link Coffer.extract} takes. */
export interface ExtractOptions extends WatchOptions {
  /** Whether files that are there are replaced: true by default. If not, one is `ERR_COFFER_EXISTS`, and nothing is written. */
  replace?: boolean | undefined
  /**
   * Whether files and directories get the modes of their members as they are. By default what the
   * process masks (`umask`) is taken from them, and a directory that is there keeps its own mode.
   */
  preserve?: boolean | undefined
  /** A directory that names are taken relative to: from `a`, the member `a/b` goes to `b` below the target. */
  from?: string | undefined
  /** The most bytes that a file may have: one with more is `ERR_COFFER_TOO_LARGE`, and nothing is written. Any number by default. */
  maxMemberSize?: number | undefined
  /** The most bytes that all files together may have, likewise. Any number by default. */
  maxTotalSize?: number | undefined
}

/** What {@link Coffer.extractAll} takes. */
export interface ExtractAllOptions extends ExtractOptions {
  /** The names of the members to extract, directories with all that is below them; everything by default. */
  members?: readonly string[] | undefined
  /** Whether everything includes the records of plugins, such as passwords, below `.plugins/`: false by default. */
  plugins?: boolean | undefined
}

/** What {@link Coffer.extract} and {@link Coffer.extractAll} did. */
export interface Extracted {
  /** The number of files written. */
  files: number
  /** The number of directories that are members. */
  directories: number
  /** The bytes of the files. */
  bytes: number
  /** Modes and times that the system refused to set. The files and directories are there otherwise. */
  skipped: Skipped[]
}

const extractOptions = ['replace', 'preserve', 'from', 'maxMemberSize', 'maxTotalSize', ...watchOptions] as const

/** The members that one call extracts, in the engine's form. */
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
