// @ts-check
/** `npm run build`, and with `--debug` `npm run build:debug`. */
import { buildFacade, buildNative, ensureInstalled } from './prepare.mjs'

ensureInstalled()
buildNative(process.argv.includes('--debug') ? 'debug' : 'release')
buildFacade()
