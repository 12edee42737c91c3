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
} from './cryptor.ts'
export { CofferError, type ErrorCode, type ErrorDetails } from './errors.ts'
export type { CofferFile, FileReadOptions, FileWriteOptions } from './file.ts'
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
export type { PushOptions, RsyncAction, Rsynced, RsyncOptions, RsyncPlugin } from './plugins/rsync.ts'
export type { LostMember, Salvaged, SalvageOptions } from './salvage.ts'
export type { Source } from './source.ts'
export { CofferStore } from './store.ts'
export type { ReadStreamOptions, WriteStreamOptions } from './streams.ts'
export { type ExportTarOptions, exportTar } from './tar.ts'
export { type Imported, type ImportTarOptions, importTar } from './untar.ts'
export type { Progress, WatchOptions } from './watch.ts'
