import { type FileHandle, open, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { UsageError } from '../exit.ts'
import type { Changes } from './changes.ts'
import { home } from './home.ts'
import { editIni, isIni, parseIni } from './ini.ts'
import { OWNER_ONLY, readPrivate } from './private.ts'
import { type Defaults, defaultsFrom, type Section, sectionFrom } from './section.ts'

/** A parsed configuration. */
export interface Config {
  path: string
  format: 'yaml' | 'ini'
  sections: Map<string, Section>
  defaults: Defaults
}

const DEFAULT = 'DEFAULT'

/** The path of the configuration without `--conf`. */
export function defaultConfigPath(): string {
  return join(home('--conf names the configuration'), '.cofferrc')
}

/** Reads a configuration; null if the file does not exist. */
export async function readConfig(path: string): Promise<Config | null> {
  const text = await readPrivate(path)
  return text === null ? null : parseConfig(path, text)
}

/**
 * Appends the text of a section to a configuration, which is created if it is missing. The rest of the file
 * is unchanged, and a crash leaves the old file or the new one.
 */
export async function addSection(path: string, name: string, text: string): Promise<void> {
  await replaceConfig(path, async (old, file) => {
    const before = await parseConfig(file, old)
    if (before.sections.has(name)) throw new UsageError(`${path} has a coffer ${name} already: choose another name`)
    const separator = old === '' ? '' : old.endsWith('\n') ? '\n' : '\n\n'
    const whole = old + separator + text
    const expected = [...before.sections.keys(), name]
    if (JSON.stringify(await names(file, whole)) !== JSON.stringify(expected)) {
      throw new UsageError(
        `a section cannot be put at the end of ${path}: call without --write, and put it there yourself`,
      )
    }
    return whole
  })
}

/**
 * Changes entries of a section. The rest of the file is unchanged, byte for byte, and a crash leaves the
 * old file or the new one.
 *
 * @throws {UsageError} if the layout of the section is not supported; nothing is changed then
 */
export async function changeSection(path: string, name: string, changes: Changes): Promise<void> {
  await replaceConfig(path, async (old, file) => {
    const before = await entriesOf(file, old)
    const now = before.get(name)
    if (now === undefined) throw new UsageError(`${path} has no coffer ${name} any more`)
    const edit = isIni(old) ? editIni : (await import('./yaml.ts')).editYaml
    const whole = edit(old, name, changes)
    const after = await entriesOf(file, whole)
    const expected = new Map(before).set(name, changedEntries(now, changes))
    if (!isDeepStrictEqual(after, expected)) {
      throw new UsageError(`the section ${name} of ${path} is written in a way that cannot be changed here`)
    }
    return whole
  })
}

/** Replaces a configuration atomically, under a lock file. */
async function replaceConfig(path: string, change: (old: string, file: string) => Promise<string>): Promise<void> {
  const file = await realpath(path).catch(() => path)
  const lock = `${file}.new`
  let handle: FileHandle
  try {
    handle = await open(lock, 'wx', OWNER_ONLY)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') {
      throw new UsageError(`there is no directory ${dirname(file)} for the configuration: --conf names another file`)
    }
    if (code !== 'EEXIST') throw error
    throw new UsageError(`${lock} is there: another coffer is writing, or one was interrupted; then remove it`)
  }
  try {
    const whole = await change((await readPrivate(file)) ?? '', file)
    await handle.writeFile(whole)
    await handle.sync()
    await handle.close()
    await rename(lock, file)
    await syncDirectory(dirname(file))
  } catch (error) {
    await handle.close().catch(() => {})
    await rm(lock, { force: true })
    throw error
  }
}

/** The entries of all sections, for comparison: keys as base64 text, other values unchanged. */
async function entriesOf(path: string, text: string): Promise<Map<string, Record<string, unknown>>> {
  await parseConfig(path, text)
  if (isIni(text)) return new Map([...parseIni(text)].map(([name, options]) => [name, Object.fromEntries(options)]))
  const { parseYaml } = await import('./yaml.ts')
  const all = (parseYaml(text) ?? {}) as Record<string, Record<string, unknown>>
  const plain = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value)
  return new Map(
    Object.entries(all).map(([name, entries]) => [
      name,
      Object.fromEntries(Object.entries(entries).map(([option, value]) => [option, plain(value)])),
    ]),
  )
}

function changedEntries(entries: Record<string, unknown>, changes: Changes): Record<string, unknown> {
  const left = Object.entries(entries).filter(([option]) => !Object.hasOwn(changes, option))
  return Object.fromEntries([...left, ...Object.entries(changes).filter(([, value]) => value !== null)])
}

async function syncDirectory(path: string): Promise<void> {
  // A directory cannot be opened on Windows.
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function names(path: string, text: string): Promise<string[] | null> {
  try {
    return [...(await parseConfig(path, text)).sections.keys()]
  } catch {
    return null
  }
}

async function parseConfig(path: string, text: string): Promise<Config> {
  try {
    return isIni(text) ? fromIni(path, text) : await fromYaml(path, text)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new UsageError(`${path}: ${error.message}`)
  }
}

/** As in PyCoffer: entries of DEFAULT apply to every section, and `default_…` to the command line. */
function fromIni(path: string, text: string): Config {
  const all = parseIni(text)
  const inherited = all.get(DEFAULT) ?? new Map<string, string>()
  const defaults: Record<string, unknown> = {}
  for (const [option, value] of inherited) {
    if (option.startsWith('default_')) defaults[option.slice('default_'.length)] = value
  }
  const sections = new Map<string, Section>()
  for (const [name, options] of all) {
    if (name === DEFAULT) continue
    sections.set(name, sectionFrom(name, Object.fromEntries([...inherited, ...options])))
  }
  return { path, format: 'ini', sections, defaults: defaultsFrom(DEFAULT, defaults) }
}

/** A mapping of names to sections. Entries of DEFAULT apply to the command line, not to sections. */
async function fromYaml(path: string, text: string): Promise<Config> {
  const { parseYaml } = await import('./yaml.ts')
  const sections = new Map<string, Section>()
  let defaults: Defaults = {}
  for (const [name, entries] of Object.entries(parseYaml(text) ?? {})) {
    if (!isRecord(entries)) throw new UsageError(`${name} must have entries, such as "type: bank"`)
    if (name === DEFAULT) defaults = defaultsFrom(DEFAULT, entries)
    else sections.set(name, sectionFrom(name, entries))
  }
  return { path, format: 'yaml', sections, defaults }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}
