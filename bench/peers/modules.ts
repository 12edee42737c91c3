/** Peers that npm brings; their packages are in the folder npm, apart from Coffer's own. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(new URL('npm/package.json', import.meta.url))

/** As much of better-sqlite3 as is used here. */
export interface Sqlite {
  pragma(source: string): unknown
  exec(source: string): unknown
  prepare(source: string): { run(...values: unknown[]): unknown; get(...values: unknown[]): unknown }
  close(): void
}
type SqliteClass = new (path: string) => Sqlite

/** As much of classic-level as is used here. */
export interface Level {
  open(): Promise<void>
  get(key: string): Promise<Buffer | undefined>
  put(key: string, value: Buffer, options: { sync: boolean }): Promise<void>
  del(key: string, options: { sync: boolean }): Promise<void>
  batch(entries: readonly { type: 'put'; key: string; value: Buffer }[], options: { sync: boolean }): Promise<void>
  close(): Promise<void>
}
type LevelClass = new (path: string, options: { valueEncoding: 'buffer' }) => Level

/** As much of lmdb as is used here. */
export interface Lmdb {
  get(key: string): Buffer | undefined
  put(key: string, value: Buffer): Promise<boolean>
  remove(key: string): Promise<boolean>
  transaction<T>(work: () => T): Promise<T>
  close(): Promise<void>
}
interface LmdbModule {
  open(options: { path: string; encoding: 'binary'; overlappingSync: boolean; noSubdir: boolean }): Lmdb
}

/** As much of node-tar as is used here. */
export interface NodeTar {
  create(options: { file: string; cwd: string; portable: boolean }, paths: string[]): Promise<void>
  extract(options: { file: string; cwd: string }): Promise<void>
}

/** better-sqlite3's class; null if it is not there, or not built. */
export function sqlite(): SqliteClass | null {
  const found = loaded('better-sqlite3') as SqliteClass | null
  try {
    if (found !== null) new found(':memory:').close()
    return found
  } catch {
    return null
  }
}

/** classic-level's class; null if it is not there. */
export function level(): LevelClass | null {
  return (loaded('classic-level') as { ClassicLevel: LevelClass } | null)?.ClassicLevel ?? null
}

/** lmdb; null if it is not there. */
export function lmdb(): LmdbModule | null {
  return loaded('lmdb') as LmdbModule | null
}

/** node-tar; null if it is not there. */
export function nodeTar(): NodeTar | null {
  return loaded('tar') as NodeTar | null
}

/** The version of a package here; null if it is not there. */
export function versionOfModule(name: string): string | null {
  try {
    // Read as a file: a package need not export it.
    const text = readFileSync(new URL(`npm/node_modules/${name}/package.json`, import.meta.url), 'utf8')
    return (JSON.parse(text) as { version: string }).version
  } catch {
    return null
  }
}

function loaded(name: string): unknown {
  try {
    return require(name)
  } catch {
    return null
  }
}
