// @ts-check
/** `npm run check`: format, lint, types and layers, beside each other. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { quick } from './checks.mjs'
import { check, report } from './parts.mjs'
import { ensureBuilt, ensureInstalled, root } from './prepare.mjs'

ensureInstalled()
// The types of the facade are made of the binding's; those of an older build will do.
if (!existsSync(join(root, 'native', 'binding.d.cts'))) ensureBuilt()
await Promise.all(quick.map((one) => check([one])))
process.exitCode = report().failed > 0 ? 1 : 0
