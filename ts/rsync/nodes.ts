import { basename } from 'node:path'
import type { Skipped } from '../coffer/writes.ts'
import { CofferError } from '../errors.ts'
import { isOfPlugins, type Member, timeNs } from '../member/member.ts'
import type { Symlinks } from '../member/options.ts'
import type { Filter } from './filter.ts'
import { type Node, withParents } from './plan.ts'
import type { Entry, Trees } from './trees.ts'

/** The permissions of a file's owner. */
const OWNER = 0o700

/** The content of a directory tree. */
export interface Walked {
  readonly nodes: Map<string, Node>
  /** The same, in the engine's form. */
  readonly entries: Map<string, Entry>
  /**
   * Entries that are neither a file nor a directory, with the reason. With an `errno`: entries that the
   * system could not stat, and directories that it could not list.
   */
  readonly skipped: Skipped[]
}

/**
 * Walks a file, or a directory with everything below it. Directories that the filter excludes are not
 * entered.
 *
 * @throws {CofferError} `ERR_COFFER_UNSAFE_PATH` for a link, if `symlinks` is `error`
 */
export async function walk(
  root: Entry,
  trees: Trees,
  filter: Filter,
  symlinks: Symlinks,
  signal?: AbortSignal,
): Promise<Walked> {
  const nodes = new Map<string, Node>()
  const entries = new Map<string, Entry>()
  const skipped: Skipped[] = []
  const waiting: [path: string, entry: Entry][] = [['', root]]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [path, entry] = next
    const type = entry.kind === 'pipe' ? 'other' : entry.kind
    const takes = filter.takes(path, type === 'directory')
    let hidden = entry.errno !== undefined
    let full = false
    if (type === 'directory') {
      signal?.throwIfAborted()
      const enters = filter.enters(path)
      const children = enters ? await listed(trees, path, entry, symlinks) : []
      if (children === undefined) continue
      if (children instanceof CofferError) {
        hidden = true
        skipped.push({ path: entry.path, reason: children.message, errno: children.errno ?? 0 })
      } else for (const child of children) waiting.push([joined(path, basename(child.path)), child])
      full = hidden || !enters || (Array.isArray(children) && children.length > 0)
    } else if (type !== 'file' && takes) {
      if (type === 'link' && symlinks === 'error') throw linked(entry.path)
      const { path, reason = '', errno } = entry
      skipped.push({ path, reason, ...(errno === undefined ? {} : { errno }) })
    }
    const { size, mode, mtime } = entry
    const unchanged = !takes || hidden || type === 'other'
    nodes.set(path, { type, protected: unchanged, hidden, full, size, mode, mtimeNs: timeNs(mtime) })
    entries.set(path, entry)
  }
  skipped.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { nodes, entries, skipped }
}

/**
 * The entries of a directory; an error if the system cannot list it, undefined if it has disappeared. For
 * the root either is thrown.
 */
async function listed(
  trees: Trees,
  path: string,
  entry: Entry,
  symlinks: Symlinks,
): Promise<Entry[] | CofferError | undefined> {
  try {
    return await trees.list(entry, symlinks)
  } catch (error) {
    if (path === '' || !(error instanceof CofferError) || error.errno === undefined) throw error
    return error.systemCode === 'ENOENT' ? undefined : error
  }
}

/** The members at a name and below it; all members if the name is empty. */
export function nodesOf(members: readonly Member[], root: string, filter: Filter): Map<string, Node> {
  const nodes = new Map<string, Node>()
  for (const { name, type, size, mode, mtimeNs } of members) {
    const path = root === '' ? name : name.slice(root.length + 1)
    const takes = filter.takes(path, type === 'directory')
    // Records of plugins are extracted for their owner only.
    const permissions = isOfPlugins(name) ? mode & OWNER : mode
    nodes.set(path, { type, protected: !takes, hidden: false, full: false, size, mode: permissions, mtimeNs })
  }
  for (const path of withParents([...nodes.keys()])) {
    if (nodes.has(path)) continue
    const implied = { type: 'directory', hidden: false, full: true, size: 0, mode: 0, mtimeNs: undefined } as const
    nodes.set(path, { ...implied, protected: !filter.takes(path, true) })
  }
  return nodes
}

/** A path below another; either may be the root, which is empty. */
export function joined(directory: string, path: string): string {
  return directory === '' || path === '' ? directory + path : `${directory}/${path}`
}

function linked(path: string): CofferError {
  return new CofferError('ERR_COFFER_UNSAFE_PATH', `${path} is a symbolic link, and symlinks is 'error'`, { path })
}
