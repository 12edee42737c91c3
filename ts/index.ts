/**
 * One file that holds many named files: compressed, sealed chunk by chunk, indexed, and safe
 * against crashes.
 *
 * {@link CofferBank}, {@link CofferStore}, {@link CofferMarket} and {@link CofferNull} are the kinds
 * of coffers, {@link Coffer} has any layers, or opens any kind that exists; all have the calls of {@link Coffer}.
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
 * const bank = await CofferBank.open('vault.coffer', 'x', keys)
 * await bank.write('notes/todo.txt', 'buy milk')
 * console.log(await bank.readText('notes/todo.txt'))
 * await bank.close()
 * ```
 *
 * @module coffer
 */
import './plugins/own.ts'

export { CofferBank } from './coffer/bank.ts'
export type { CofferBatch } from './coffer/batch.ts'
export type { CofferReader, CofferWriter } from './coffer/calls.ts'
export { type ChangePassphraseOptions, Coffer, type NoLayers } from './coffer/coffer.ts'
export type { CommitsOptions } from './coffer/commits.ts'
export type { ExtractAllOptions, ExtractOptions, ExtractResult } from './coffer/extraction.ts'
export type { VerifyResult } from './coffer/handle.ts'
export { type CofferIdentity, type IdentifiedCoffer, type IdentifiedOther, identify } from './coffer/identify.ts'
export type { CofferInfo } from './coffer/info.ts'
export { CofferMarket } from './coffer/market.ts'
export { CofferNull } from './coffer/null.ts'
export type { CofferClass, CofferNotice, NoticeCode, OpenedCoffer } from './coffer/open.ts'
export type {
  CofferCommit,
  NewCofferOptions,
  OpenFlags,
  OpenMode,
  OpenOptions,
  OptionsOf,
  ReplaceOptions,
  WritableOptions,
} from './coffer/options.ts'
export type { LostMember, SalvageOptions, SalvageResult } from './coffer/salvage.ts'
export { CofferStore } from './coffer/store.ts'
export type { MemberEntry, NamedEntry, WriteManyResult } from './coffer/write-many.ts'
export type { AddOptions, AddResult, DeleteOptions, SkippedItem } from './coffer/writes.ts'
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
export type { CofferKey, CofferKeys } from './keys/key.ts'
export type { CofferCipher, CofferKind, CofferLayer, CofferLayers } from './keys/kinds.ts'
export {
  type DeriveOptions,
  deriveKeys,
  type KdfOptions,
  type KdfParameters,
  type Passphrase,
} from './keys/passphrase.ts'
export type {
  AnyKeys,
  AnySecret,
  BankCipherOption,
  BankKeys,
  BankSecret,
  MarketKeys,
  MarketSecret,
  NewCofferKeys,
  PassphraseSecret,
  StoreKeys,
  StoreSecret,
} from './keys/secret.ts'
export type { CofferBytes } from './member/bytes.ts'
export type { CofferFile } from './member/file.ts'
export type { FileReadOptions, FileReadResult, FileWriteOptions, FileWriteResult } from './member/file-options.ts'
export type { MemberData } from './member/input.ts'
export type { BigIntMember, Member } from './member/member.ts'
export type {
  FileFlags,
  FileMode,
  LinesOptions,
  NoOptions,
  ReadStreamOptions,
  SourceOptions,
  StatOptions,
  SymlinkPolicy,
  TextOptions,
  WriteOptions,
  WriteStreamOptions,
} from './member/options.ts'
export type { MemberQuery } from './member/query.ts'
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
  ImportPasswordsResult,
  ImportPyCofferOptions,
  PasswordPlugin,
} from './plugins/password.ts'
export type { NewPassword, PasswordEntry, PasswordInfo, PasswordKey } from './plugins/password-entry.ts'
export type { PullOptions, PushOptions, RsyncAction, RsyncOptions, RsyncPlugin, RsyncResult } from './plugins/rsync.ts'
export type { CofferProgress, WatchOptions } from './progress.ts'
export { type ExportTarOptions, exportTar } from './tar/export.ts'
export { type ImportTarOptions, type ImportTarResult, importTar } from './tar/import.ts'
