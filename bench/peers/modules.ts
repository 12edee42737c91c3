/** Peers that npm brings; their packages are in the folder npm, apart from Coffer's own. */
import { createRequire } from 'node:module'

const require = createRequire(new URL('npm/package.json', import.meta.url))

/** As much of better-sqlite3 as is used here. */
export interface Sqlite {
  pragma(source: string): unknown
  exec(source: string): unknown
  prepare(source: string): { run(...values: unknown[]): unknown }
  close(): void
}
type SqliteClass = new (path: string) => Sqlite

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

/** node-tar; null if it is not there. */
export function nodeTar(): NodeTar | null {
  return loaded('tar') as NodeTar | null
}

/** The version of a package here; null if it is not there. */
export function versionOfModule(name: string): string | null {
  const found = loaded(`${name}/package.json`) as { version: string } | null
  return found?.version ?? null
}

function loaded(name: string): unknown {
  try {
    return require(name)
  } catch {
    return null
  }
}
