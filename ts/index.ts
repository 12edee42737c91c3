/**
 * One file that holds many named files: compressed, sealed chunk by chunk, indexed, and safe
 * against crashes.
 *
 * {@link CofferBank}, {@link CofferStore}, {@link CofferMarket} and {@link CofferNull} are the kinds
 * of coffers, {@link Coffer} is one with layers of your own; all have the calls of {@link Coffer}.
 * Every failure is a {@link CofferError} with a stable code. Sizes are in bytes, and times in
 * milliseconds where nothing else is said.
 *
 * Beside the types stand the same calls with more examples ([API](../docs/api.md)), the
 * [command line](../docs/cli.md), the [file format](../docs/format.md),
 * [reading without Coffer](../docs/reading-without-coffer.md), and the
 * [architecture](../docs/architecture.md).
 *
 * @example
 * ```js
 * import { CofferBank } from 'coffer'
 *
 * const keys = CofferBank.generateKeys() // keep them: nothing opens the coffer without them
 * const bank = await CofferBank.open('vault.coffer', 'w', keys)
 * await bank.write('notes/todo.txt', 'buy milk')
 * console.log(await bank.readText('notes/todo.txt'))
 * await bank.close()
 * ```
 *
 * @module coffer
 */
export { CofferBank } from './bank.ts'
export type { Batch } from './batch.ts'
export type { Added, AddOptions, DeleteOptions, Skipped } from './changes.ts'
export {
  type ChangePassphraseOptions,
  Coffer,
  type CofferOptions,
  type ExtractAllOptions,
  type Extracted,
  type ExtractOptions,
  type Notice,
  type Verified,
} from './coffer.ts'
export type {
  ConvertOptions,
  Cryptor,
  DecryptOptions,
  DecryptStreamOptions,
  EncryptOptions,
  EncryptStreamOptions,
  TargetStreamOptions,
} from './cryptor.ts'
export { CofferError, type ErrorCode, type ErrorDetails } from './errors.ts'
export type { CofferFile, FileRead, FileReadOptions, FileWriteOptions, FileWritten } from './file.ts'
export { type Identity, identify, type KindName } from './identify.ts'
export type { Info } from './info.ts'
export type { Cipher, Keys, Layer, Layers, NewKeys } from './kinds.ts'
export { CofferMarket } from './market.ts'
export type { Member } from './member.ts'
export { CofferNull } from './null.ts'
export type { Commit, Key, Mode, ModeText, OpenOptions, SourceOptions, WriteOptions } from './options.ts'
export { type DeriveOptions, deriveKeys, type Kdf, type KdfOptions, type Passphrase } from './passphrase.ts'
export {
  CofferPlugin,
  KeyPlugin,
  type Plugin,
  type PluginClass,
  type PluginHost,
  type PluginName,
  type Plugins,
  RecordPlugin,
  registerPlugin,
} from './plugin.ts'
export type { ChromeSource } from './plugins/chrome.ts'
export type { CryptPlugin } from './plugins/crypt.ts'
export type {
  AddPasswordOptions,
  ImportChromeOptions,
  ImportedPasswords,
  ImportPyCofferOptions,
  NewPassword,
  PasswordEntry,
  PasswordInfo,
  PasswordKey,
  PasswordPlugin,
} from './plugins/password.ts'
export type { PullOptions, PushOptions, RsyncAction, Rsynced, RsyncOptions, RsyncPlugin } from './plugins/rsync.ts'
export type { LostMember, Salvaged, SalvageOptions } from './salvage.ts'
export type { Source } from './source.ts'
export { CofferStore } from './store.ts'
export type { ReadStreamOptions, WriteStreamOptions } from './streams.ts'
export { type ExportTarOptions, exportTar } from './tar.ts'
export type { Symlinks } from './trees.ts'
export { type Imported, type ImportTarOptions, importTar } from './untar.ts'
export type { Progress, WatchOptions } from './watch.ts'
