import { parentOf } from './filter.ts'

/** Something in a tree, or in a coffer, by its path below the root. */
export interface Node {
  readonly type: 'file' | 'directory' | 'link' | 'other'
  /** Whether the patterns leave it alone. */
  readonly protected: boolean
  /** Whether the system does not say what is there, or what is below it. Nothing follows from that. */
  readonly hidden: boolean
  /** Whether it is a directory with something in it: such a one is not stored by itself. */
  readonly full: boolean
  /** Bytes of a file. */
  readonly size: number
  readonly mode: number
  /** In nanoseconds since 1970; undefined for a directory of a coffer that only its members imply. */
  readonly mtimeNs: bigint | undefined
}

/** What is at each path; the root itself is the empty one. */
export type Nodes = ReadonlyMap<string, Node>

/** What is to be done to the target. */
export interface Plan {
  /** What to remove, in the order of the paths. */
  readonly delete: readonly string[]
  /** What to store, in the order of the paths. */
  readonly store: readonly { readonly path: string; readonly action: 'add' | 'update' }[]
  /** How many files and empty directories are up to date. */
  readonly unchanged: number
}

/** How a plan is made. */
export interface Planning {
  /** Whether what the source does not have is removed. */
  readonly delete: boolean
  /** The paths of those among some files of equal size that differ, or undefined where times and modes tell. */
  readonly differing: ((paths: readonly string[]) => Promise<ReadonlySet<string>>) | undefined
  /** Whether two times are the same. */
  readonly sameTime: (source: bigint, target: bigint) => boolean
  /** Whether a directory's time changes with what is in it. */
  readonly touches: boolean
  /** Whether permissions are compared. */
  readonly permissions: boolean
  /** The error about something that is in the way. */
  readonly inTheWay: (path: string) => Error
}

/** Finds out what makes the target like the source. */
export async function plan(source: Nodes, target: Nodes, planning: Planning): Promise<Plan> {
  const stored = new Map([...source].filter(([, node]) => isStored(node)))
  const gone = obsolete(source, target, stored, planning)
  const remaining = (path: string): Node | undefined => (gone.has(path) ? undefined : target.get(path))
  const same = await comparison(stored, remaining, planning)

  const store: { path: string; action: 'add' | 'update' }[] = []
  for (const [path, node] of stored) {
    const old = remaining(path)
    // Of a directory that is only implied nothing is stored yet.
    if (old?.mtimeNs === undefined) store.push({ path, action: 'add' })
    else if (!same(path, node, old)) store.push({ path, action: 'update' })
  }
  if (planning.touches) {
    const touched = new Set([...gone, ...store.map(({ path }) => path)].map(parentOf))
    // A directory that has to be made changes the one that it is made in.
    for (const path of touched) if (path !== '' && remaining(path) === undefined) touched.add(parentOf(path))
    const planned = new Set(store.map(({ path }) => path))
    for (const [path, { type }] of stored) {
      if (type === 'directory' && touched.has(path) && !planned.has(path)) store.push({ path, action: 'update' })
    }
  }
  return {
    // What is only implied goes with what implies it.
    delete: [...gone].filter((path) => target.get(path)?.mtimeNs !== undefined).sort(),
    store: store.sort((a, b) => (a.path < b.path ? -1 : 1)),
    unchanged: stored.size - store.length,
  }
}

function isStored(node: Node): boolean {
  return !node.protected && (node.type === 'file' || (node.type === 'directory' && !node.full))
}

/** What of the target has to go: what the source does not have, and what is in the way. */
function obsolete(source: Nodes, target: Nodes, stored: Nodes, planning: Planning): Set<string> {
  const needed = withParents(stored.keys())
  const gone = new Set<string>()
  const isHidden = hiddenIn(source)
  for (const [path, node] of target) {
    if (node.protected || source.get(path)?.type === node.type || isHidden(path)) continue
    // A file that makes way for a directory is lost as one that is updated; a directory may hold much more.
    if (planning.delete || (node.type === 'file' && needed.has(path))) gone.add(path)
  }
  // A directory stays with whatever stays in it.
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

/** Whether nothing is known of a path of the source: of itself, or of a directory above it. */
function hiddenIn(source: Nodes): (path: string) => boolean {
  const hidden = new Set([...source].filter(([, node]) => node.hidden).map(([path]) => path))
  return (path) => {
    for (let at = path; hidden.size > 0 && at !== ''; at = parentOf(at)) if (hidden.has(at)) return true
    return false
  }
}

/** Paths, and every directory above them, up to the root. */
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

/** What tells whether a file or directory is up to date. */
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

/** Set-user-id and its like are left out: extraction does not restore them. */
const PERMISSIONS = 0o777

function samePermissions(a: number, b: number): boolean {
  // Windows has none.
  return process.platform === 'win32' || (a & PERMISSIONS) === (b & PERMISSIONS)
}
