import type { NativeCoffer } from '../binding/native.ts'
import { CofferError } from '../errors.ts'

/** The plugins that come with Coffer by their names, for {@link Coffer.plugin}. Other plugins have no names. */
// biome-ignore lint/suspicious/noEmptyInterface: plugins/own.ts declares them
export interface Plugins {}

/** The name of a plugin that comes with Coffer. */
export type PluginName = keyof Plugins & string

/** The argument of a plugin's constructor, from {@link Coffer.plugin}. */
// biome-ignore lint/suspicious/noEmptyInterface: plugins/base.ts declares what it has, for it is made of a coffer
export interface PluginHost {}

/**
 * A class of plugins, as {@link Coffer.plugin} takes it.
 *
 * @typeParam P the plugin
 * @param host the argument from {@link Coffer.plugin}
 */
export type PluginClass<P extends Plugin = Plugin> = new (host: PluginHost) => P

/** The property that marks the classes of plugins, also those of a second copy of this package. */
const brand = Symbol.for('coffer.plugin')

/**
 * The value of the mark: the version of what a coffer and the base classes expect of each other, the
 * {@link PluginHost} and the calls of its coffer. A change that breaks one of them increments it.
 */
const CONTRACT = 1

/**
 * The base of all plugins. Plugins extend {@link CofferPlugin}, {@link RecordPlugin} or {@link KeyPlugin},
 * which have examples.
 */
export abstract class Plugin implements AsyncDisposable {
  readonly #coffer: { readonly path: string }
  #closed = false

  static {
    Object.defineProperty(Plugin.prototype, brand, { value: CONTRACT })
  }

  constructor({ coffer }: PluginHost) {
    this.#coffer = coffer
  }

  /** Whether {@link close} has been called. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Closes the plugin. The coffer stays open, and calls under way complete. May be called more than once.
   */
  async close(): Promise<void> {
    this.#closed = true
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Throws if the plugin is closed: for the beginning of each call of a plugin.
   *
   * @throws {@link CofferError} `ERR_COFFER_CLOSED`
   */
  protected checkOpen(): void {
    if (!this.#closed) return
    const { path } = this.#coffer
    throw new CofferError('ERR_COFFER_CLOSED', 'the plugin is closed: ask the coffer for another', { path })
  }
}

/**
 * Whether a value is a class of plugins: `other` if it extends base classes of a second copy of this package
 * that expect something else of a coffer.
 */
export function isPluginClass(value: unknown): boolean | 'other' {
  if (typeof value !== 'function') return false
  const { prototype } = value as { prototype?: unknown }
  if (typeof prototype !== 'object' || prototype === null || !(brand in prototype)) return false
  return prototype[brand] === CONTRACT || 'other'
}

/** What a plugin is made from. */
export interface PluginRequest<Coffer> {
  readonly coffer: Coffer
  readonly native: NativeCoffer
  /** Runs a change, and fails if it would wait for the batch that it is made in. */
  readonly change: <T>(call: string, work: () => Promise<T>) => Promise<T>
}

type MakePlugin<Coffer> = (plugin: PluginName | PluginClass, request: PluginRequest<Coffer>) => Promise<Plugin>

let make: MakePlugin<never> = () => Promise.reject(new Error('ts/plugins/own.ts is not loaded'))

/** Sets what makes plugins. A plugin is made from a coffer, so this module cannot import the plugins. */
export function setPluginFactory<Coffer>(factory: MakePlugin<Coffer>): void {
  make = factory
}

/** Makes a plugin for a coffer: one of its own by its name, or one of a class. */
export async function openPlugin(plugin: PluginName | PluginClass, request: PluginRequest<object>): Promise<Plugin> {
  return make(plugin, request as PluginRequest<never>)
}
