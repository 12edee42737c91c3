import { join } from 'node:path'
import { errnoOf } from '../binding/native.ts'
import { checkBoolean, checkName, checkOptions, checkPath } from '../check.ts'
import type { SkippedItem } from '../coffer/writes.ts'
import { CofferError, invalid } from '../errors.ts'
import { type BigIntMember, isOfPlugins, isWithin } from '../member/member.ts'
import { checkSymlinks, defaultName, type SymlinkPolicy } from '../member/options.ts'
import { checkWatch, type WatchOptions, watchOptions } from '../progress.ts'
import { checkPatterns, Filter, parentOf } from '../rsync/filter.ts'
import { joined, nodesOf, type Walked, walk } from '../rsync/nodes.ts'
import { type Nodes, type Plan, type Planning, plan } from '../rsync/plan.ts'
import type { Entry, Trees } from '../rsync/trees.ts'
import { CofferPlugin, type PluginHost } from './base.ts'

/**
 * What {@link RsyncPlugin.push} and {@link RsyncPlugin.pull} take. Patterns are those of .gitignore,
 * relative to the directory: `*.tmp` matches at any depth, `/build` and `docs/*.md` from the top,
 * `node_modules/` only directories, and `**` any number of directories.
 */
export interface RsyncOptions extends WatchOptions {
  /**
   * Whether contents are compared instead of sizes, times and permissions: false by default. A file with
   * equal contents is then not changed.
   */
  checksum?: boolean | undefined
  /** Whether paths that the source lacks are deleted: false by default. Paths that the patterns exclude never are. */
  delete?: boolean | undefined
  /** Whether to return the actions without doing them: false by default. */
  dryRun?: boolean | undefined
  /** Patterns of the paths that take part, with everything below them: all paths by default. */
  include?: readonly string[] | undefined
  /**
   * Patterns of the paths that do not take part, with everything below them: none by default. They override
   * `include`.
   */
  exclude?: readonly string[] | undefined
  /**
   * Whether the records of plugins, such as passwords, below `.plugins/` take part in a run on the whole
   * coffer: false by default. `pull` also includes them if they are named, `push` only with this option.
   */
  plugins?: boolean | undefined
}

/** What {@link RsyncPlugin.push} takes. */
export interface PushOptions extends RsyncOptions {
  /** The treatment of symbolic links: `follow` by default. */
  symlinks?: SymlinkPolicy | undefined
}

/** What {@link RsyncPlugin.pull} takes. */
export interface PullOptions extends RsyncOptions {
  /**
   * Whether modes are compared, and set as by {@link ExtractOptions.preserve}: false by default, so that the
   * process's `umask` is applied to new files.
   */
  preserve?: boolean | undefined
}

/** An action that was done, or would be. */
export interface RsyncAction {
  /** The kind of action. */
  action: 'add' | 'update' | 'delete'
  /** The name in the coffer. */
  name: string
  /** The path outside. */
  path: string
  /** The bytes of a file that is added or updated. */
  size?: number | undefined
}

/** The result of {@link RsyncPlugin.push} and {@link RsyncPlugin.pull}. */
export interface RsyncResult {
  /** The actions, sorted by name. */
  actions: RsyncAction[]
  /** The number of files added and updated. */
  files: number
  /** The bytes of these files. */
  bytes: number
  /** The number of deletions. */
  deleted: number
  /** The number of files and empty directories that were up to date. */
  unchanged: number
  /**
   * What `push` left out, except by patterns. With an `errno`: entries that the system could not stat or
   * list; nothing of that name, or below it, was deleted. For `pull` the same of its target, and modes and
   * times that the system refused to set.
   */
  skipped: SkippedItem[]
}

const rsyncOptions = ['checksum', 'delete', 'dryRun', 'include', 'exclude', 'plugins', ...watchOptions] as const

/** The directory of a coffer with the records of plugins. */
const RESERVED = '.plugins'

/**
 * The plugin `rsync`: brings a directory tree up to date in a coffer, or the other way round. Only
 * differences are written.
 *
 * @example
 * ```js
 * import { mkdir, rm, writeFile } from 'node:fs/promises'
 * import { CofferStore } from 'coffer'
 *
 * await mkdir('site')
 * await writeFile('site/index.html', '<h1>Hello</h1>')
 * await writeFile('site/old.html', '<h1>Old</h1>')
 * const store = await CofferStore.open('store.coffer', 'w', CofferStore.generateKeys())
 * const rsync = await store.plugin('rsync')
 * await rsync.push('site')
 *
 * await rm('site/old.html')
 * const options = { delete: true, exclude: ['*.tmp'] }
 * console.log((await rsync.push('site', 'site', { ...options, dryRun: true })).deleted) // 1
 * await rsync.push('site', 'site', options)
 * await rsync.pull('site', 'mirror', { delete: true })
 * await rsync.close()
 * await store.close()
 * ```
 */
export class RsyncPlugin extends CofferPlugin {
  readonly #trees: Trees

  constructor(host: PluginHost) {
    super(host)
    this.#trees = host.trees
  }

  /**
   * Makes the coffer like a directory tree, or a file. All changes are one commit; if one fails, none is
   * made.
   *
   * @param source a path or a `file:` URL
   * @param name the name in the coffer: the last component of `source` by default. An empty name puts the
   *   content of a directory at the top
   * @param options comparison, patterns, cancellation and progress
   * @returns the actions that were done, or would be
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_EXISTS` if a directory has the name of a file and `delete`
   *   is off, or a file is above `name`; `…_STALE` if a file changes meanwhile, or if a coffer that is open for
   *   reading is changed; and as {@link Coffer.add} except `…_IS_DIRECTORY`. A call that would change nothing
   *   is not `…_READ_ONLY` or `…_IN_BATCH`
   */
  async push(source: string | URL, name?: string, options: PushOptions = {}): Promise<RsyncResult> {
    const from = checkPath(source, 'the source of push')
    const to = checkRoot(name === undefined ? defaultName(from) : name)
    const { symlinks, ...rest } = checkOptions(options, 'push', ['symlinks', ...rsyncOptions])
    const links = checkSymlinks(symlinks)
    const run = checkRun(rest)
    if (isOfPlugins(to) && !run.plugins) throw reserved()
    await this.#checkAbove(to, from)

    const root = await this.#trees.look(from, true)
    if (root === undefined) throw missing(from)
    if (root.kind !== 'directory' && root.kind !== 'file') throw unfit(from, root)
    const single = root.kind === 'file'
    const filter = filterFor(options, to, single)
    if (single && to === '') throw invalid(`${from} is a file: give its name in the coffer`)
    const { nodes, entries, skipped } = await walk(root, this.#trees, filter, links, run.signal)
    if (to === '') nodes.delete('')

    const places = { nameOf: (path: string) => joined(to, path), pathOf: (path: string) => join(from, path) }
    const made = await plan(nodes, nodesOf(await this.#members(to), to, filter), {
      ...this.#planning(run, places, entries),
      touches: false,
      permissions: true,
      sameTime: (file, member) => file === member,
      inTheWay: (path) => occupied(places.nameOf(path), places.pathOf(path)),
    })
    const result = { ...summary(made, nodes, places), skipped }
    if (!run.dryRun && result.actions.length > 0) {
      const add = new Map<string, Entry>()
      for (const { path } of made.store) {
        const entry = entries.get(path)
        if (entry) add.set(joined(to, path), entry)
      }
      const remove = made.delete.map((path) => joined(to, path))
      await this.#trees.update('push', remove, add, run)
    }
    return result
  }

  /**
   * Makes a directory like a directory of the coffer. Nothing outside the directory is changed.
   *
   * @param name a directory of the coffer, whose content is written to the directory, or a member, which is
   *   written to the directory under the last component of its name. The empty name is the whole coffer
   * @param target the directory, which is created if it is missing: a path or a `file:` URL
   * @param options comparison, patterns, cancellation and progress
   * @returns the actions that were done, or would be
   * @throws {@link CofferError} `ERR_COFFER_MEMBER_NOT_FOUND`, `…_UNSAFE_PATH` if a link or a directory has the
   *   path of a file and `delete` is off, and as {@link Coffer.extract} except `…_EXISTS`. What was done before
   *   the error stays
   */
  async pull(name: string, target: string | URL, options: PullOptions = {}): Promise<RsyncResult> {
    const from = checkRoot(name)
    const directory = checkPath(target, 'the target of pull')
    const { preserve: preserved, ...rest } = checkOptions(options, 'pull', ['preserve', ...rsyncOptions])
    const preserve = checkBoolean(preserved, 'preserve') ?? false
    const run = checkRun(rest)

    const single = from !== '' && (await this.coffer.stat(from)).type === 'file'
    const filter = filterFor(options, from, single)
    // The path of the root below the directory.
    const base = single ? from.slice(from.lastIndexOf('/') + 1) : ''
    const source = nodesOf(await this.#members(from), from, filter)
    if (!single) source.delete('')
    const { nodes: there, entries, skipped } = await this.#there(directory, base, filter, run.signal)

    const places = {
      nameOf: (path: string) => joined(from, path),
      pathOf: (path: string) => join(directory, base, path),
    }
    const made = await plan(source, there, {
      ...this.#planning(run, places, entries),
      touches: true,
      permissions: preserve,
      sameTime: sameTimeOnDisk,
      inTheWay: (path) => occupiedOutside(places.nameOf(path), places.pathOf(path)),
    })
    const result = { ...summary(made, source, places), skipped: skipped.filter(({ errno }) => errno !== undefined) }
    if (!run.dryRun && result.actions.length > 0) {
      // The content of a directory is removed before it.
      const remove = made.delete.map((path) => joined(base, path)).reverse()
      if (remove.length > 0) await this.#trees.remove(directory, remove, run)
      const names = made.store.map(({ path }) => places.nameOf(path))
      const below = single ? parentOf(from) : from
      if (names.length > 0) {
        const how = { ...run, preserve }
        result.skipped.push(...(await this.#trees.extract(names, below || undefined, directory, how)))
      }
    }
    return result
  }

  /** The content of the target of `pull`, or of one path in it. */
  async #there(directory: string, base: string, filter: Filter, signal?: AbortSignal): Promise<Walked> {
    const top = await this.#trees.look(directory, true)
    const root = base === '' ? top : top && (await this.#trees.look(join(directory, base), false))
    if (root === undefined) return { nodes: new Map(), entries: new Map(), skipped: [] }
    // Listing a target that is not a directory fails.
    if (base === '' && root.kind !== 'directory') await this.#trees.list(root, 'skip')
    const walked = await walk(root, this.#trees, filter, 'skip', signal)
    if (base === '') walked.nodes.delete('')
    return walked
  }

  /** Refuses an invalid name, or one below a file, before anything is done. */
  async #checkAbove(name: string, path: string): Promise<void> {
    if (name !== '') await this.coffer.has(name)
    for (let above = parentOf(name); above !== ''; above = parentOf(above)) {
      if ((await this.coffer.has(above)) && (await this.coffer.stat(above)).type === 'file')
        throw below(above, name, path)
    }
  }

  async #members(root: string): Promise<BigIntMember[]> {
    if (root === '') return this.coffer.members({ bigint: true })
    const members = await this.coffer.members({ prefix: root, bigint: true })
    return members.filter(({ name }) => isWithin(name, root))
  }

  #planning(run: Run, { nameOf }: Places, entries: ReadonlyMap<string, Entry>): Pick<Planning, 'delete' | 'differing'> {
    const differing = async (paths: readonly string[]): Promise<Set<string>> => {
      const pairs = new Map<string, Entry>()
      for (const path of paths) {
        const entry = entries.get(path)
        if (entry) pairs.set(nameOf(path), entry)
      }
      const changed = new Set(await this.#trees.differing(pairs, run))
      return new Set(paths.filter((path) => changed.has(nameOf(path))))
    }
    return { delete: run.delete, differing: run.checksum ? differing : undefined }
  }
}

/** Maps the paths of a tree to names in the coffer and paths outside. */
interface Places {
  nameOf(path: string): string
  pathOf(path: string): string
}

interface Run extends WatchOptions {
  readonly plugins: boolean
  readonly checksum: boolean
  readonly delete: boolean
  readonly dryRun: boolean
}

function checkRun(options: RsyncOptions): Run {
  const { include, exclude, signal, onProgress } = options
  const run = {
    plugins: checkBoolean(options.plugins, 'plugins') ?? false,
    checksum: checkBoolean(options.checksum, 'checksum') ?? false,
    delete: checkBoolean(options.delete, 'delete') ?? false,
    dryRun: checkBoolean(options.dryRun, 'dryRun') ?? false,
    signal,
    onProgress,
  }
  checkPatterns(include, 'include')
  checkPatterns(exclude, 'exclude')
  checkWatch(options)
  return run
}

/**
 * The filter of a run. A single file takes part regardless of the patterns, which apply to the content of
 * directories.
 */
function filterFor({ include, exclude, plugins }: RsyncOptions, root: string, single: boolean): Filter {
  return new Filter(include, exclude, single, root === '' && !plugins ? RESERVED : undefined)
}

/** The name of a tree in the coffer; empty for the whole coffer. */
function checkRoot(name: string): string {
  const root = checkName(name, 'the name of a tree')
    .replace(/^\//, '')
    .replace(/(?<=.)\/$/, '')
  return root === '.' ? '' : root
}

function reserved(): CofferError {
  return invalid(`${RESERVED} is reserved for plugins: choose another name, or pass plugins`)
}

function summary(made: Plan, source: Nodes, { nameOf, pathOf }: Places): Omit<RsyncResult, 'skipped'> {
  const gone = (path: string): RsyncAction => ({ action: 'delete', name: nameOf(path), path: pathOf(path) })
  const actions = made.delete.map(gone)
  let [files, bytes] = [0, 0]
  for (const { path, action } of made.store) {
    const step: RsyncAction = { action, name: nameOf(path), path: pathOf(path) }
    const node = source.get(path)
    if (node?.type === 'file') {
      step.size = node.size
      files += 1
      bytes += node.size
    }
    actions.push(step)
  }
  // Sorting is stable: a deletion stays before the addition of the same name.
  actions.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  return { actions, files, bytes, deleted: made.delete.length, unchanged: made.unchanged }
}

/** The resolutions of times in file systems, in nanoseconds. */
const TIME_UNITS = [1n, 100n, 1_000n, 1_000_000n, 1_000_000_000n, 2_000_000_000n]

/** Whether a file has the time of a member, within the resolution of its file system. */
function sameTimeOnDisk(member: bigint, file: bigint): boolean {
  return TIME_UNITS.some((unit) => file % unit === 0n && member >= file && member - file < unit)
}

/** The error for a missing source. */
function missing(path: string): CofferError {
  return new CofferError('ERR_COFFER_IO', `stat failed on ${path}: there is no such file or directory`, {
    path,
    errno: errnoOf('ENOENT'),
    systemCode: 'ENOENT',
    syscall: 'stat',
  })
}

function unfit(path: string, { kind, reason }: Entry): CofferError {
  const what = kind === 'pipe' ? 'it is a pipe, which cannot be compared: use add' : reason
  return new CofferError('ERR_COFFER_INVALID_ARG', `${path} cannot be synchronized: ${what}`, { path })
}

function occupied(member: string, path: string): CofferError {
  return new CofferError(
    'ERR_COFFER_MEMBER_EXISTS',
    `${path} cannot be stored as ${member}, where the coffer has a member of another type: pass delete, or exclude it`,
    { path, member },
  )
}

function below(file: string, member: string, path: string): CofferError {
  return new CofferError(
    'ERR_COFFER_MEMBER_EXISTS',
    `${path} cannot be stored as ${member}: ${file} is a file of the coffer. Delete it first, or choose another name`,
    { path, member },
  )
}

function occupiedOutside(member: string, path: string): CofferError {
  return new CofferError(
    'ERR_COFFER_UNSAFE_PATH',
    `${path} is a link or of another type than ${member}: remove it, pass delete, or exclude it`,
    { path, member },
  )
}
