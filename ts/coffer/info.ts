import type { NativeInfo, NativeLayer } from '../binding/native.ts'
import type { Cipher, KindName, Layer } from '../keys/kinds.ts'
import { type Kdf, kdfFrom } from '../keys/passphrase.ts'

/** What a coffer is, and how it fills its file: see {@link Coffer.info}. Sizes are in bytes; unflushed changes are counted. */
export interface Info {
  /** The absolute path. */
  path: string
  /** The kind. */
  kind: KindName
  /** What the container is sealed with; `none` if it is not. */
  cipher: Cipher
  /** What is done to a member's bytes before they enter the tar. */
  member: Layer
  /** What is done to the tar. */
  container: Layer
  /** A chunk, the unit of sealing. */
  chunkSize: number
  /** A block, the unit of compression and random access. */
  blockSize: number
  /** Whether the keys come from a passphrase. */
  passphrase: boolean
  /** How they come from it: what {@link deriveKeys} takes, absent if they do not. */
  kdf?: Kdf
  /** 16 random bytes in hexadecimal that stay for the life of the coffer; absent in PyCoffer's format. */
  archiveId?: string
  /** Whether the file is in PyCoffer's format still, until the first flush. */
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
  /** Those of its live blocks. What is neither live nor dead is headers and commits. */
  liveBytes: number
  /** Those of its dead blocks, superseded commits and old footers: what {@link Coffer.compact} gives back. */
  deadBytes: number
  /** `bytes / fileSize`: how many bytes of members a byte of the file holds. */
  ratio: number
}

/** What the engine knows, for the caller. */
export function infoFrom(path: string, { kind, member, container, kdf, archiveId, ...rest }: NativeInfo): Info {
  return {
    path,
    kind: kind as KindName,
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

function layerFrom({ level, cipher }: NativeLayer): Layer {
  return { level: level ?? null, cipher: (cipher ?? 'none') as Cipher }
}
