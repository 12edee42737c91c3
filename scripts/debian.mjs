// @ts-check
/**
 * A Debian 13 in target/arm64/debian, with a compiler of Rust, the sources of its standard library, a compiler of C for
 * arm64, and the emulator. Nothing of it goes into the system around it, except for debootstrap, which makes it.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { must, root, run } from './prepare.mjs'

/** Where it is, and what is built in it. */
export const work = join(root, 'target', 'arm64')
/** The top of that Debian. */
export const debian = join(work, 'debian')

const suite = 'trixie'
const packages = [
  ...['rustc-web', 'cargo-web', 'libstd-rust-web-dev:arm64', 'rust-web-src'],
  ...['gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross', 'make'],
  'qemu-user',
]
const { CARGO_HOME: cargoHome = join(homedir(), '.cargo') } = process.env

/** Makes the Debian unless it is there with all it needs. */
export function ensureDebian() {
  const ready = join(work, 'debian-ready')
  const wanted = [suite, ...packages].join(' ')
  if (textOf(ready) === wanted) return
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('This is for Linux on x64.')
  if (process.getuid?.() !== 0) throw new Error('Only root may make a Debian and work in it: run this as root.')
  rmSync(ready, { force: true })
  rmSync(debian, { recursive: true, force: true })
  mkdirSync(work, { recursive: true })
  ensureDebootstrap()
  console.log(`A Debian with ${packages.join(', ')} comes into ${debian} (2.5 GB).`)
  must('debootstrap', ['--variant=minbase', suite, debian])
  const install = ['apt-get', 'install', '--yes', '--quiet', '--no-install-recommends', ...packages]
  for (const command of [
    ['dpkg', '--add-architecture', 'arm64'],
    ['apt-get', 'update', '--quiet'],
    install,
    ['apt-get', 'clean'],
  ]) {
    if (inDebian(command).status !== 0) throw new Error(`failed in ${debian}: ${command.join(' ')}`)
  }
  writeFileSync(ready, wanted)
}

/** debootstrap is the one package that is installed outside. */
function ensureDebootstrap() {
  if (spawnSync('debootstrap', ['--version']).status === 0) return
  console.log('The package debootstrap is installed on this system.')
  if (!run('apt-get', ['install', '--yes', '--quiet', '--no-install-recommends', 'debootstrap'])) {
    must('apt-get', ['update', '--quiet'])
    must('apt-get', ['install', '--yes', '--quiet', '--no-install-recommends', 'debootstrap'])
  }
}

/**
 * Runs a command in it, at the top of the repository. The repository and the crates that Cargo has fetched are at their
 * own paths. The mounts end with the command.
 *
 * @param {readonly string[]} command
 * @param {'inherit' | 'pipe'} output what becomes of the standard output
 */
export function inDebian(command, output = 'inherit') {
  const mounts = `
    set -e
    debian=$1 root=$2 cargo=$3
    shift 3
    mkdir -p "$debian$root" "$debian$cargo"
    mount -t proc proc "$debian/proc"
    mount --rbind /dev "$debian/dev"
    mount --bind "$root" "$debian$root"
    mount --bind "$cargo" "$debian$cargo"
    exec chroot "$debian" env --chdir="$root" "$@"`
  return spawnSync('unshare', ['--mount', 'sh', '-c', mounts, 'sh', debian, root, cargoHome, ...command], {
    stdio: ['ignore', output, 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/root',
      LC_ALL: 'C.UTF-8',
      DEBIAN_FRONTEND: 'noninteractive',
      CARGO_HOME: cargoHome,
      CARGO_NET_OFFLINE: 'true',
      CARGO_TARGET_DIR: join(work, 'cargo'),
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER: 'aarch64-linux-gnu-gcc',
    },
  })
}

/** @param {string} path */
function textOf(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
