import { parentOf } from './filter.ts'

/** A file or directory of a tree or a coffer. */
export interface Node {
  readonly type: 'file' | 'directory' | 'link' | 'other'
  /** Whether the patterns protect it from changes. */
  readonly protected: boolean
  /**
   * Whether the system could not stat or list it: then its absence below is not known, and nothing is deleted
   * for it.
   */
  readonly hidden: boolean
  /** Whether it is a directory that is not empty: only empty ones are stored. */
  readonly full: boolean
  /** Bytes of a file. */
  readonly size: number
  readonly mode: number
  /** In nanoseconds since 1970; undefined for a directory of a coffer that exists only by its members. */
  readonly mtimeNs: bigint | undefined
}

/** The nodes by their paths below the root, which is the empty path. */
export type Nodes = ReadonlyMap<string, Node>

/** The changes to the target. */
export interface Plan {
  /** The paths to remove, sorted. */
  readonly delete: readonly string[]
  /** The paths to store, sorted. */
  readonly store: readonly { readonly path: string; readonly action: 'add' | 'update' }[]
  /** The number of files and empty directories that are up to date. */
  readonly unchanged: number
}

/** The rules of a plan. */
export interface Planning {
  /** Whether paths that the source lacks are removed. */
  readonly delete: boolean
  /**
   * Finds the files, among some of equal size, whose contents differ; undefined if times and modes are compared
   * instead.
   */
  readonly differing: ((paths: readonly string[]) => Promise<ReadonlySet<string>>) | undefined
  /** Whether two times count as equal. */
  readonly sameTime: (source: bigint, target: bigint) => boolean
  /** Whether a change in a directory changes the directory's time. */
  readonly touches: boolean
  /** Whether permissions are compared. */
  readonly permissions: boolean
  /** The error for a path that blocks another. */
  readonly inTheWay: (path: string) => Error
}

/** Computes the changes that make the target like the source. */
export async function plan(source: Nodes, target: Nodes, planning: Planning): Promise<Plan> {
  const stored = new Map([...source].filter(([, node]) => isStored(node)))
  const gone = obsolete(source, target, stored, planning)
  const remaining = (path: string): Node | undefined => (gone.has(path) ? undefined : target.get(path))
  const same = await comparison(stored, remaining, planning)

  const store: { path: string; action: 'add' | 'update' }[] = []
  for (const [path, node] of stored) {
    const old = remaining(path)
    // A directory that exists only by its members has no entry yet.
    if (old?.mtimeNs === undefined) store.push({ path, action: 'add' })
    else if (!same(path, node, old)) store.push({ path, action: 'update' })
  }
  if (planning.touches) {
    const touched = new Set([...gone, ...store.map(({ path }) => path)].map(parentOf))
    // Creating a directory changes the time of its parent.
    for (const path of touched) if (path !== '' && remaining(path) === undefined) touched.add(parentOf(path))
    const planned = new Set(store.map(({ path }) => path))
    for (const [path, { type }] of stored) {
      if (type === 'directory' && touched.has(path) && !planned.has(path)) store.push({ path, action: 'update' })
    }
  }
  return {
    // A directory that exists only by its members disappears with them.
    delete: [...gone].filter((path) => target.get(path)?.mtimeNs !== undefined).sort(),
    store: store.sort((a, b) => (a.path < b.path ? -1 : 1)),
    unchanged: stored.size - store.length,
  }
}

function isStored(node: Node): boolean {
  return !node.protected && (node.type === 'file' || (node.type === 'directory' && !node.full))
}

/** The paths of the target to remove: those that the source lacks, and those that block others. */
function obsolete(source: Nodes, target: Nodes, stored: Nodes, planning: Planning): Set<string> {
  const needed = withParents(stored.keys())
  const gone = new Set<string>()
  const isHidden = hiddenIn(source)
  for (const [path, node] of target) {
    if (node.protected || source.get(path)?.type === node.type || isHidden(path)) continue
    // Replacing a file by a directory loses no more than updating it; a directory may hold much more.
    if (planning.delete || (node.type === 'file' && needed.has(path))) gone.add(path)
  }
  // A directory stays if anything in it stays.
  const kept = withParents([...target.keys()].filter((path) => !gone.has(path)))
  for (const path of gone) {
    if (kept.has(path)) gone.delete(path)
  }
  for (const path of [...needed].sort()) {
    const type = stored.has(path) ? stored.get(path)?.type : 'directory'
    const old = gone.has(path) ? undefined : target.get(path)
    if (old !== undefined && old.type !== type) throw planning.inTheWay(path)
  }
  return gone
}

/** Whether a path of the source is hidden, or a directory above it. */
function hiddenIn(source: Nodes): (path: string) => boolean {
  const hidden = new Set([...source].filter(([, node]) => node.hidden).map(([path]) => path))
  return (path) => {
    for (let at = path; hidden.size > 0 && at !== ''; at = parentOf(at)) if (hidden.has(at)) return true
    return false
  }
}

/** Paths and all their parent directories, up to the root. */
export function withParents(paths: Iterable<string>): Set<string> {
  const all = new Set<string>()
  for (let path of paths) {
    while (!all.has(path)) {
      all.add(path)
      path = parentOf(path)
    }
  }
  return all
}

/** The test whether a file or directory is up to date. */
async function comparison(
  stored: Nodes,
  remaining: (path: string) => Node | undefined,
  { differing, sameTime, permissions }: Planning,
): Promise<(path: string, source: Node, target: Node) => boolean> {
  if (differing === undefined) {
    return (_path, source, target) =>
      (source.type === 'directory' || source.size === target.size) &&
      sameTime(source.mtimeNs ?? 0n, target.mtimeNs ?? 0n) &&
      (!permissions || samePermissions(source.mode, target.mode))
  }
  const equal = [...stored].filter(([path, { type, size }]) => type === 'file' && remaining(path)?.size === size)
  const changed = await differing(equal.map(([path]) => path))
  return (path, source, target) => source.type === 'directory' || (source.size === target.size && !changed.has(path))
}

/** Without set-user-id, set-group-id and sticky, which extraction does not restore. */
const PERMISSIONS = 0o777

function samePermissions(a: number, b: number): boolean {
  // Windows has no permissions.
  return process.platform === 'win32' || (a & PERMISSIONS) === (b & PERMISSIONS)
}
