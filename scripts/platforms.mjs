// @ts-check
/**
 * Type-checks the engine, its tests and the addon for every platform that has a package, on Linux on x64 as root:
 *
 *     npm run platforms                        all of them
 *     npm run platforms -- x86_64-apple-darwin
 *
 * Rust's standard library is compiled for each from its sources, which the Debian in target/arm64 has, and C by zig.
 * Windows is checked with the GNU tools' C library: zig has no other. Nothing is linked: that is for the release.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { debian, ensureDebian, inDebian, work } from './debian.mjs'
import { tripleOf } from './portable.mjs'
import { must, root } from './prepare.mjs'
import { zigPython } from './zig.mjs'

const triples = [
  ...['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl', 'darwin-x64', 'darwin-arm64'].map(
    tripleOf,
  ),
  'x86_64-pc-windows-gnu',
  'aarch64-pc-windows-gnullvm',
]

const asked = process.argv.slice(2)
const unknown = asked.filter((triple) => !triples.includes(triple))
if (unknown.length > 0) {
  console.error(`usage: npm run platforms -- [${triples.join('] [')}]`)
  process.exit(2)
}

ensureDebian()
// The standard library is built from crates, too, and has a feature of Cargo that is not stable.
process.env['RUSTC_BOOTSTRAP'] = '1'
must('cargo', ['fetch', '--locked'])
const library = join(debian, 'usr/lib/rustlib/src/rust/library/Cargo.toml')
must('cargo', ['fetch', '--locked', '--manifest-path', library])

const python = zigPython()
// What the addon would be linked with; checking only asks whether it is there.
const links = join(work, 'links')
mkdirSync(links, { recursive: true })
writeFileSync(join(links, 'libnode.dll'), '')
const environment = [
  `PATH=${dirname(python)}:/usr/bin:/bin`,
  `CARGO_ZIGBUILD_ZIG_PATH=${zigOf(python)}`,
  `CARGO_TARGET_DIR=${join(work, 'platforms')}`,
  `SODIUM_LIB_DIR=${links}`,
  `LIBNODE_PATH=${links}`,
  'RUSTC_BOOTSTRAP=1',
  'CARGO_BUILD_WARNINGS=deny',
]

const failed = (asked.length > 0 ? asked : triples).filter((triple) => {
  console.log(`\n== ${triple}`)
  const check = ['cargo-zigbuild', 'check', '-Zbuild-std', '-Zwarnings', '--locked', '--quiet', '--target', triple]
  const parts = [
    ['-p', 'coffer-core', '--all-targets'],
    ['-p', 'coffer-node'],
  ]
  return !parts.every((part) => inDebian(['env', ...environment, ...check, ...part]).status === 0)
})
console.log(failed.length > 0 ? `\nnot for ${failed.join(', ')}` : '\nEvery platform is checked: no error, no warning.')
process.exit(failed.length > 0 ? 1 : 0)

/**
 * The program that the Python package ziglang brings.
 *
 * @param {string} python
 */
function zigOf(python) {
  const program = 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))'
  const { stdout } = spawnSync(python, ['-c', program], { cwd: root, encoding: 'utf8' })
  return stdout.trim()
}
