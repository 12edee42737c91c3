import { type Config, defaultConfigPath, readConfig } from './config.ts'
import { UsageError } from './exit.ts'
import { expandHome, location, type Section } from './section.ts'

/** How the command line says which coffer it means. */
export interface TargetOptions {
  conf?: string
  coffer?: string
  file?: string
}

/** The coffer that is meant. */
export interface Target {
  /** What to call it: its name in the configuration, or its path. */
  name: string
  path: string
  /** What the configuration says of it. */
  section?: Section
}

/** The configuration that holds; null if there is none, which only the default one may be. */
export async function findConfig(conf: string | undefined): Promise<Config | null> {
  const config = await readConfig(conf ?? defaultConfigPath())
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
    return { name: file, path: expandHome(file) }
  }
  const config = await findConfig(options.conf)
  const section = findSection(config, coffer ?? config?.defaults.coffer)
  return { name: section.name, path: await location(section), section }
}

/** A section by its name, or the only one. */
export function findSection(config: Config | null, name: string | undefined): Section {
  const where = config?.path ?? defaultConfigPath()
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
