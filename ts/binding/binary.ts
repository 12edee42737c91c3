import { createRequire } from 'node:module'
import type * as Binding from '../../native/binding.d.cts'
import { CofferError } from '../errors.ts'

/** The version of this package; the binary must have the same. */
const VERSION = '0.1.0'

/** The platforms with a package of their binary, named coffer-<platform>. */
const platforms = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-arm64-msvc',
  'win32-x64-msvc',
]

/** Resolves relative to this file: a bundler must keep the packages with binaries reachable from the bundle. */
const require = createRequire(import.meta.url)

/** The binary is loaded here and nowhere else. */
const loaded = load()

/** The path of the loaded binary. */
export const binary: string = loaded.binary

/** Its binding. */
export const binding: typeof Binding = loaded.binding

function load(): { binary: string; binding: typeof Binding } {
  const here = `${process.platform}-${process.arch}`
  const fitting = platforms.filter((platform) => `${platform}-`.startsWith(`${here}-`))
  if (fitting.length === 0) {
    throw noBinary(
      `coffer has no binary for ${here}, only for ${platforms.join(', ')}. Elsewhere it may be built from its sources, with Rust and a C compiler.`,
    )
  }
  // A package manager may install the packages for both C libraries of Linux.
  const found = fitting.map(find).filter((name) => name !== undefined)
  const name = found.length > 1 ? found.find((one) => one.includes(`-${libc()}`)) : found[0]
  if (name === undefined) {
    const platform = fitting.find((one) => fitting.length === 1 || one.endsWith(libc()))
    const missing = `coffer-${platform}`
    throw noBinary(
      `coffer has no binary for ${platform} here: the package ${missing} is not installed. It is an optional dependency, which npm leaves out with --omit=optional, when node_modules or package-lock.json come from another platform, and by a bug of its own (https://github.com/npm/cli/issues/4828). Remove node_modules and package-lock.json and run npm install on the platform that runs coffer, or add the package: npm install ${missing}@${VERSION}`,
    )
  }
  const binary = require.resolve(name)
  let binding: typeof Binding
  try {
    binding = require(binary) as typeof Binding
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw noBinary(
      `coffer's binary, ${binary}, does not load with Node.js ${process.version}: ${why}. On Linux it needs glibc 2.28 or musl 1.2, or newer ones. If the file is damaged, install again.`,
      cause,
    )
  }
  if (binding.VERSION !== VERSION) {
    throw noBinary(
      `coffer's binary, ${binary}, is of version ${binding.VERSION}, but coffer of ${VERSION}. Remove node_modules and install again.`,
    )
  }
  return { binary, binding }
}

/**
 * The module with the binary of a platform: the local build in a clone, else its package; undefined if neither
 * exists.
 */
function find(platform: string): string | undefined {
  return [`../../native/coffer.${platform}.node`, `coffer-${platform}`].find((name) => {
    try {
      require.resolve(name)
      return true
    } catch {
      return false
    }
  })
}

/** The C library of this process, as the packages' names have it. */
function libc(): 'gnu' | 'musl' {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'
}

function noBinary(message: string, cause?: unknown): CofferError {
  return new CofferError('ERR_COFFER_NO_BINARY', message, { cause })
}
