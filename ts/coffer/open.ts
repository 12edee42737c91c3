import { binding, type NativeCoffer } from '../binding/native.ts'
import { checkPath, shown } from '../check.ts'
import { invalid } from '../errors.ts'
import type { Kind } from '../keys/kinds.ts'
import { checkSecret, lend, type SecretOptions } from '../keys/secret.ts'
import { watched } from '../progress.ts'
import { checkOpenOptions, type OpenMode, type ReplaceOptions } from './options.ts'

/** The code of a {@link CofferNotice}: docs/api.md says what each means. New versions may add codes. */
export type NoticeCode =
  /** The coffer did not exist, and was made. */
  | 'created'
  /** Bytes of a write that did not finish. */
  | 'torn-tail'
  /** A commit behind the one that was opened is damaged. */
  | 'damaged-commit'
  /** The footer of the newest commit is damaged. */
  | 'damaged-footer'
  /** The header is damaged, and its copy was used. */
  | 'damaged-header'
  /** The coffer is in PyCoffer's format. */
  | 'legacy'
  /** A new file could not get the owner or the group of the one that it replaced. */
  | 'owner'
  /** The file has much dead space, and could not be compacted. */
  | 'not-compacted'
  /** Salvage found no commit that can be read. */
  | 'no-commit'
  /** Salvage met bytes that the disk cannot read. */
  | 'unreadable'
  /** Salvage met a damaged frame of a coffer in PyCoffer's format. */
  | 'damaged-frame'

/** A condition that was found and handled when a coffer was opened or salvaged. */
export interface CofferNotice {
  /** The stable code. */
  code: NoticeCode
  /** The description; its text may change. */
  message: string
}

const opened: unique symbol = Symbol('opened')

/** The argument of a coffer's constructor, which only `open` makes. */
export interface OpenedCoffer {
  /** A mark that other values do not have. */
  readonly [opened]: true
  /** @internal */
  readonly native: NativeCoffer
  /** @internal */
  readonly path: string
  /** @internal */
  readonly mode: OpenMode
  /** @internal */
  readonly kind: Kind
}

/**
 * A class of coffers that `open` makes an instance of: the class that it is called on, also a class of the caller's.
 *
 * @typeParam Made the coffer
 */
export interface CofferClass<Made> {
  /** The prototype of the class. */
  readonly prototype: Made
}

/** Opens a coffer of a kind, as an instance of a class. The caller has checked the names of the options. */
export async function open<Made>(
  made: CofferClass<Made>,
  path: string | URL,
  mode: OpenMode,
  kind: Kind,
  options: ReplaceOptions & SecretOptions,
): Promise<Made> {
  if (typeof made !== 'function')
    throw invalid(`open is called on a class, as in ${kind.label}.open(…), not on ${shown(made)}`)
  const file = checkPath(path, 'the path of a coffer')
  const common = checkOpenOptions(options)
  const native = await lend(checkSecret(kind, options), (secret) =>
    watched({ signal: options.signal }, (watch) =>
      binding.openCoffer(file, { mode, kind: kind.native, ...common, ...secret }, watch),
    ),
  )
  const argument: OpenedCoffer = { [opened]: true, native, path: file, mode, kind }
  return Reflect.construct(made, [argument]) as Made
}

/** Refuses a constructor's argument that does not come from {@link open}. */
export function checkOpened(argument: OpenedCoffer, label: string): OpenedCoffer {
  if (argument?.[opened]) return argument
  throw invalid(`a ${label} comes from ${label}.open(path, mode, options), not from a constructor`)
}
