import { realpath } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { UsageError } from '../exit.ts'
import { type Config, defaultConfigPath, readConfig } from './config.ts'
import { expandHome, location, type Section } from './section.ts'

/** The options of the command line that select a coffer. */
export interface TargetOptions {
  conf?: string
  coffer?: string
  file?: string
  /** Whether the configuration is ignored for `file`. */
  bare?: boolean
}

/** The selected coffer. */
export interface Target {
  /** Its name in the configuration, or its path. */
  name: string
  path: string
  /** Its section in the configuration. */
  section?: Section
  /** The path of the configuration. */
  conf?: string
}

/** Reads the configuration; null if the default one does not exist. */
export async function findConfig(conf: string | undefined): Promise<Config | null> {
  const config = await readConfig(conf === undefined ? defaultConfigPath() : expandHome(conf))
  if (config === null && conf !== undefined) throw new UsageError(`there is no configuration ${conf}`)
  return config
}

/**
 * Finds the selected coffer: the file of `--file`, the coffer of `--coffer` in the configuration, the
 * configuration's default, or its only one.
 */
export async function findTarget(options: TargetOptions): Promise<Target> {
  const { coffer, file } = options
  if (file !== undefined) {
    if (coffer !== undefined) throw new UsageError('--coffer and --file exclude each other: each says which coffer')
    const path = expandHome(file)
    const found = options.bare ? undefined : await sectionOf(path, options.conf)
    return found ?? { name: file, path }
  }
  const config = await findConfig(options.conf)
  const section = findSection(config, coffer ?? config?.defaults.coffer)
  return { name: section.name, path: await location(section), section, conf: config?.path }
}

/** The coffer of the configuration whose location is a file; undefined if there is none. */
async function sectionOf(path: string, conf: string | undefined): Promise<Target | undefined> {
  // Without a home directory there is no default configuration, and `--file` does not need one.
  if (conf === undefined && !isAbsolute(homedir())) return undefined
  const config = await findConfig(conf)
  const meant = await realFile(path)
  const found: Section[] = []
  for (const section of config?.sections.values() ?? []) {
    if ((await realFile(await location(section))) === meant) found.push(section)
  }
  const [section, ...others] = found
  if (section === undefined) return undefined
  if (others.length === 0) return { name: section.name, path, section, conf: config?.path }
  const known = found.map(({ name }) => name).join(', ')
  throw new UsageError(
    `which keys? ${path} is the location of several coffers in ${config?.path}, ${known}: --coffer names one`,
  )
}

/** The canonical path of a file; of a missing file, its name in the canonical path of its directory. */
async function realFile(path: string): Promise<string> {
  const whole = resolve(path)
  return realpath(whole).catch(async () =>
    realpath(dirname(whole)).then(
      (directory) => join(directory, basename(whole)),
      () => whole,
    ),
  )
}

/** The section of a name, or the only one. */
export function findSection(config: Config | null, name: string | undefined): Section {
  const where = config?.path ?? '~/.cofferrc'
  const sections = [...(config?.sections.values() ?? [])]
  const known = sections.map((section) => section.name).join(', ')
  if (name !== undefined) {
    const found = config?.sections.get(name)
    if (found) return found
    throw new UsageError(`${where} has no coffer ${name}${known ? `: it has ${known}` : ''}`)
  }
  const [only, ...others] = sections
  if (only !== undefined && others.length === 0) return only
  const ways = '--coffer names one of the configuration, --file a file'
  throw new UsageError(
    known ? `which coffer? ${where} has ${known}; ${ways}` : `which coffer? ${where} has none; ${ways}`,
  )
}
