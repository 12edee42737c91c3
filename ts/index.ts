/**
 * One file that holds many named files: compressed, sealed chunk by chunk, indexed, and safe
 * against crashes.
 *
 * {@link CofferBank}, {@link CofferStore}, {@link CofferMarket} and {@link CofferNull} are the kinds
 * of coffers, {@link Coffer} has any layers; all have the calls of {@link Coffer}.
 * Every failure is a {@link CofferError} with a stable code. Sizes are in bytes, and times in
 * milliseconds unless stated otherwise.
 *
 * Further documents: the [API](../docs/api.md) with more examples, the [command line](../docs/cli.md), the
 * [file format](../docs/format.md), [reading without Coffer](../docs/reading-without-coffer.md), and the
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
import './plugins/own.ts'

export { CofferBank } from './coffer/bank.ts'
export type { Batch } from './coffer/batch.ts'
export { type ChangePassphraseOptions, Coffer, type CofferOptions } from './coffer/coffer.ts'
export type { ExtractAllOptions, Extracted, ExtractOptions } from './coffer/extraction.ts'
export type { Verified } from './coffer/handle.ts'
export { type Identity, identify } from './coffer/identify.ts'
export type { Info } from './coffer/info.ts'
export { CofferMarket } from './coffer/market.ts'
export { CofferNull } from './coffer/null.ts'
export type { Notice } from './coffer/open.ts'
export type { Commit, OpenOptions } from './coffer/options.ts'
export type { LostMember, Salvaged, SalvageOptions } from './coffer/salvage.ts'
export { CofferStore } from './coffer/store.ts'
export type { Added, AddOptions, DeleteOptions, Skipped } from './coffer/writes.ts'
export type {
  ConvertOptions,
  Cryptor,
  DecryptOptions,
  DecryptStreamOptions,
  EncryptOptions,
  EncryptStreamOptions,
  TargetStreamOptions,
} from './crypt/cryptor.ts'
export { CofferError, type ErrorCode, type ErrorDetails } from './errors.ts'
export type { Key, Keys } from './keys/key.ts'
export type { Cipher, KindName, Layer, Layers } from './keys/kinds.ts'
export { type DeriveOptions, deriveKeys, type Kdf, type KdfOptions, type Passphrase } from './keys/passphrase.ts'
export type { NewKeys } from './keys/secret.ts'
export type { CofferFile } from './member/file.ts'
export type { FileRead, FileReadOptions, FileWriteOptions, FileWritten } from './member/file-options.ts'
export type { MemberInput as Source } from './member/input.ts'
export type { Member } from './member/member.ts'
export type {
  Mode,
  ModeText,
  ReadStreamOptions,
  SourceOptions,
  Symlinks,
  WriteOptions,
  WriteStreamOptions,
} from './member/options.ts'
export {
  CofferPlugin,
  KeyPlugin,
  type Plugin,
  type PluginClass,
  type PluginHost,
  RecordPlugin,
} from './plugins/base.ts'
export type { ChromeSource } from './plugins/chrome.ts'
export type { CryptPlugin } from './plugins/crypt.ts'
export type { PluginName, Plugins } from './plugins/own.ts'
export type {
  AddPasswordOptions,
  ImportChromeOptions,
  ImportedPasswords,
  ImportPyCofferOptions,
  PasswordPlugin,
} from './plugins/password.ts'
export type { NewPassword, PasswordEntry, PasswordInfo, PasswordKey } from './plugins/password-entry.ts'
export type { PullOptions, PushOptions, RsyncAction, Rsynced, RsyncOptions, RsyncPlugin } from './plugins/rsync.ts'
export type { Progress, WatchOptions } from './progress.ts'
export { type ExportTarOptions, exportTar } from './tar/export.ts'
export { type Imported, type ImportTarOptions, importTar } from './tar/import.ts'
