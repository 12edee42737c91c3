import { realpath } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { UsageError } from '../exit.ts'
import { type Config, defaultConfigPath, readConfig } from './config.ts'
import { expandHome, location, type Section } from './section.ts'

/** How the command line says which coffer it means. */
export interface TargetOptions {
  conf?: string
  coffer?: string
  file?: string
  /** Whether `file` is taken without what the configuration says of it. */
  bare?: boolean
}

/** The coffer that is meant. */
export interface Target {
  /** What to call it: its name in the configuration, or its path. */
  name: string
  path: string
  /** What the configuration says of it. */
  section?: Section
  /** The configuration that says so. */
  conf?: string
}

/** The configuration that holds; null if there is none, which only the default one may be. */
export async function findConfig(conf: string | undefined): Promise<Config | null> {
  const config = await readConfig(conf === undefined ? defaultConfigPath() : expandHome(conf))
  if (config === null && conf !== undefined) throw new UsageError(`there is no configuration ${conf}`)
  return config
}

/**
 * The coffer that is meant: the file that `--file` names, the coffer that `--coffer` names in the
 * configuration, the configuration's default, or the only one in it.
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

/** The coffer of the configuration that has a file for its location, if there is one. */
async function sectionOf(path: string, conf: string | undefined): Promise<Target | undefined> {
  // Without a home directory there is no configuration, and none is needed.
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

/** A path that is the same for the same file; that of a file that is not there is made from its directory's. */
async function realFile(path: string): Promise<string> {
  const whole = resolve(path)
  return realpath(whole).catch(async () =>
    realpath(dirname(whole)).then(
      (directory) => join(directory, basename(whole)),
      () => whole,
    ),
  )
}

/** A section by its name, or the only one. */
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
