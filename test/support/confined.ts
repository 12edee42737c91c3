import { spawnSync } from 'node:child_process'

/** A command that runs the rest of its arguments: see `through` in `ChildOptions`. */
export type Command = readonly string[]

/** Ways to a mount table of one's own, which goes with the process: as root, or as anybody. */
const namespaces: readonly Command[] = [
  ['unshare', '-m'],
  ['unshare', '-r', '-m'],
]

function works([program = '', ...args]: Command): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0
}

/** How a process gets mounts that nobody else sees; null where it cannot. */
const namespace = namespaces.find((way) => works([...way, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'])) ?? null

/** Whether a process can get a disk of its own here. */
export const canMount = namespace !== null

/** Gives a process a new, small disk at an existing directory. No other process sees it. */
export function withDisk(directory: string, bytes: number): Command {
  const mount = `mount -t tmpfs -o size=${bytes} tmpfs "$0" && exec "$@"`
  return [...(namespace ?? []), 'sh', '-c', mount, directory]
}

/** Makes a directory one that nobody can write to, for a process. */
export function withReadOnly(directory: string): Command {
  const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
  return [...(namespace ?? []), 'sh', '-c', mount, directory]
}

/** Lets a process write no file longer than this, as RLIMIT_FSIZE has it. */
export function withLongestFile(bytes: number): Command {
  // The shell counts in blocks of 512 bytes.
  return ['sh', '-c', `ulimit -f ${Math.floor(bytes / 512)} && exec "$@"`, 'sh']
}
