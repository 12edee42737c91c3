/**
 * One file that holds many named files: compressed, sealed chunk by chunk, indexed, and safe
 * against crashes.
 *
 * @module
 */
export { CofferBank } from './bank.ts'
export type { Batch } from './batch.ts'
export type { Added, AddOptions, DeleteOptions } from './changes.ts'
export {
  Coffer,
  type CofferOptions,
  type ExtractAllOptions,
  type Extracted,
  type Notice,
  type Verified,
} from './coffer.ts'
export { CofferError, type ErrorCode, type ErrorDetails } from './errors.ts'
export type { Cipher, Keys, Layer, Layers } from './kinds.ts'
export { CofferMarket } from './market.ts'
export type { Member } from './member.ts'
export { CofferNull } from './null.ts'
export type { Commit, Key, Mode, ModeText, OpenOptions, WriteOptions } from './options.ts'
export { CofferStore } from './store.ts'
export { type ExportTarOptions, exportTar } from './tar.ts'
export { type Imported, type ImportTarOptions, importTar } from './untar.ts'
export type { Progress, WatchOptions } from './watch.ts'
