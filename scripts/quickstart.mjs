// @ts-check
/** `npm run quickstart [-- directory]`: from a fresh clone to a coffer of each kind. */
import { ensureBuilt, ensureInstalled, run } from './prepare.mjs'

ensureInstalled()
ensureBuilt()
const ok = run(process.execPath, ['--import', 'tsx', 'examples/quickstart.ts', ...process.argv.slice(2)])
process.exit(ok ? 0 : 1)
