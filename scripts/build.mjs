// @ts-check
/**
 * `npm run build`, and with `--debug` `npm run build:debug`. With `--packed`, what is older than its sources, with the
 * binary that is packed.
 */
import { ensurePacked } from './portable.mjs'
import { buildFacade, buildNative, ensureInstalled } from './prepare.mjs'

ensureInstalled()
if (process.argv.includes('--packed')) {
  await ensurePacked()
} else {
  buildNative(process.argv.includes('--debug') ? 'debug' : 'release')
  buildFacade()
}
