import type { NativeInfo, NativeLayer } from '../binding/native.ts'
import type { CofferCipher, CofferKind, CofferLayer } from '../keys/kinds.ts'
import { type KdfParameters, kdfFrom } from '../keys/passphrase.ts'

/**
 * The kind and layers of a coffer, and the use of space in its file: see {@link Coffer.info}. Sizes are in
 * bytes, and include unflushed changes.
 */
export interface CofferInfo {
  /** The absolute path. */
  path: string
  /** The kind. */
  kind: CofferKind
  /** The cipher of the container; `none` if it is not sealed. */
  cipher: CofferCipher
  /** Applied to a member's bytes before they enter the tar. */
  member: CofferLayer
  /** Applied to the tar. */
  container: CofferLayer
  /** The bytes of a chunk, the unit of sealing. */
  chunkSize: number
  /** The bytes of a block, the unit of compression and random access. */
  blockSize: number
  /** Whether the keys are derived from a passphrase. */
  passphrase: boolean
  /** The parameters of the derivation, as {@link deriveKeys} takes them; absent without a passphrase. */
  kdf?: KdfParameters | undefined
  /** 16 random bytes in hexadecimal that stay for the life of the coffer; absent in PyCoffer's format. */
  archiveId?: string | undefined
  /** Whether the file is still in PyCoffer's format, until the first flush. */
  legacy: boolean
  /** The number of the newest commit; 0 in a legacy coffer. */
  generation: number
  /** The number of members: files, and directories that are members. */
  members: number
  /** The number of members that are files. */
  files: number
  /** The number of members that are directories. */
  directories: number
  /** The bytes of the members. */
  bytes: number
  /** The same after compressing and sealing in the member layer. */
  storedBytes: number
  /** The number of blocks in the file; 0 in a legacy coffer. */
  blocks: number
  /** The bytes of the file. */
  fileSize: number
  /** The bytes of its live blocks. The bytes that are neither live nor dead are headers and commits. */
  liveBytes: number
  /** The bytes of dead blocks, superseded commits and old footers, which {@link Coffer.compact} frees. */
  deadBytes: number
  /** Whether this handle is compacting the file, beside other calls: see `autoCompact`. */
  compacting: boolean
  /** `bytes / fileSize`: the bytes of members per byte of the file. */
  ratio: number
}

/** The information about a coffer, from the engine's form. */
export function infoFrom(path: string, { kind, member, container, kdf, archiveId, ...rest }: NativeInfo): CofferInfo {
  return {
    path,
    kind: kind as CofferKind,
    cipher: layerFrom(container).cipher,
    member: layerFrom(member),
    container: layerFrom(container),
    passphrase: kdf !== undefined,
    ...(kdf === undefined ? {} : { kdf: kdfFrom(kdf) }),
    ...(archiveId === undefined ? {} : { archiveId }),
    members: rest.files + rest.directories,
    ...rest,
    ratio: rest.bytes / rest.fileSize,
  }
}

function layerFrom({ level, cipher }: NativeLayer): CofferLayer {
  return { level: level ?? null, cipher: (cipher ?? 'none') as CofferCipher }
}
