import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { pack } from '../../scripts/pack.mjs'
import { buildPortable, thisPlatform, tripleOf } from '../../scripts/portable.mjs'
import { startRegistry } from './support/registry.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The packages that are tested, the platforms' before the main one. */
    packages: string[]
    /** The address of a registry that has them, and all else from the registry that npm is set to. */
    registry: string
  }
}

/** Packs the packages, unless `COFFER_PACKAGES` names a directory that has them, and publishes them on this machine. */
export async function setup({ provide }: TestProject): Promise<() => void> {
  const packages = packagesIn(process.env['COFFER_PACKAGES']) ?? packagesHere()
  const { address, stop } = await startRegistry(packages)
  provide('packages', packages)
  provide('registry', address)
  return stop
}

function packagesIn(directory: string | undefined): string[] | undefined {
  if (directory === undefined) return undefined
  const files = readdirSync(directory).filter((file) => file.endsWith('.tgz'))
  const isMain = (file: string): boolean => /^coffer-\d/.test(file)
  return [...files.filter((file) => !isMain(file)), ...files.filter(isMain)].map((file) => join(directory, file))
}

function packagesHere(): string[] {
  if (thisPlatform === undefined) throw new Error(`There is no package for ${process.platform}-${process.arch}.`)
  const binary = buildPortable(tripleOf(thisPlatform))
  if (!existsSync(binary)) throw new Error(`${binary} was not built.`)
  return pack()
}
