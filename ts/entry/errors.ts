/**
 * The errors of Coffer, without its binary: for code that tells them apart and does not open coffers, and for
 * the error of a platform that Coffer has no binary for.
 *
 * @example
 * ```js
 * import { CofferError } from 'coffer/errors'
 *
 * const coffer = await import('coffer').catch((error) => {
 *   if (error instanceof CofferError && error.code === 'ERR_COFFER_NO_BINARY') return undefined
 *   throw error
 * })
 * console.log(coffer === undefined ? 'missing' : 'found') // found
 * ```
 *
 * @module coffer/errors
 */
export { CofferError, type ErrorCode, type ErrorDetails } from '../errors.ts'
