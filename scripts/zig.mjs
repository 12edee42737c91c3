// @ts-check
/** zig, which compiles and links for Linux with the C library of one's choice, whatever the machine has. */
import { pythonWith } from './python-env.mjs'

/** The oldest glibc that the packages promise to run on. */
const GLIBC = '2.28'

const zig = ['ziglang==0.15.2', 'cargo-zigbuild==0.24.0']

/** Whether there is a Python that can have zig. */
export function hasZig() {
  return pythonWith(zig) !== null
}

/** A Python that has zig as a module, and cargo-zigbuild beside it. */
export function zigPython() {
  const python = pythonWith(zig)
  if (python === null) throw new Error('A build for Linux needs Python 3.10 or newer with venv, for zig.')
  return python
}

/**
 * A target of Rust for Linux, with the version of its C library where that matters.
 *
 * @param {string} triple
 */
export function withLibc(triple) {
  return triple.endsWith('-gnu') ? `${triple}.${GLIBC}` : triple
}
