import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, sep } from 'node:path'
import { sha256 } from './bytes.ts'

/** The names of what is below a directory, sorted, as the names of members are written. */
export function below(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return names.map((name) => name.replaceAll(sep, '/')).sort()
}

/**
 * Modes, times and contents of the files and empty directories in a tree, by relative path: those
 * are members.
 */
export function inventory(root: string): Record<string, object> {
  const found: Record<string, object> = {}
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory() && readdirSync(path).length > 0) continue
    const { mode, mtimeNs, size } = statSync(path, { bigint: true })
    const file = entry.isFile() ? { size, sha256: sha256(readFileSync(path)) } : {}
    found[path.slice(root.length + 1)] = { mode: mode & 0o7777n, mtimeNs, ...file }
  }
  return found
}
