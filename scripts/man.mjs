// @ts-check
/** Writes the man page, from the same source as the help: `node scripts/man.mjs`. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildFacade, root } from './prepare.mjs'

buildFacade()
const { manPage } = await import(join(root, 'dist/cli/help/man.js'))
const { program } = await import(join(root, 'dist/cli/program.js'))
mkdirSync(join(root, 'man'), { recursive: true })
writeFileSync(join(root, 'man', 'coffer.1'), manPage(program()))
