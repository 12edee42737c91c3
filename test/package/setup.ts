import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { thisPlatform } from '../../scripts/portable.mjs'
import { root } from '../../scripts/prepare.mjs'
import { startRegistry } from './support/registry.ts'
import { run } from './support/run.ts'

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
  const packages = packagesIn(process.env['COFFER_PACKAGES']) ?? (await packagesHere())
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

async function packagesHere(): Promise<string[]> {
  if (thisPlatform === undefined) throw new Error(`There is no package for ${process.platform}-${process.arch}.`)
  const script = join(root, 'scripts', 'pack.mjs')
  const { status, stdout, stderr } = await run(process.execPath, [script, '--here'])
  if (status !== 0) throw new Error(`The packages cannot be made.\n${stdout}${stderr}`)
  return stdout.split('\n').filter((line) => line.endsWith('.tgz'))
}
