import type { Coffer } from './coffer.ts'
import { CofferError, invalid } from './errors.ts'

/** What a plugin is made from. */
export interface PluginHost {
  /** The coffer that the plugin belongs to. */
  readonly coffer: Coffer
}

/** A class of plugins, as {@link registerPlugin} takes it. */
export type PluginClass<P extends Plugin = Plugin> = new (host: PluginHost) => P

/**
 * The plugins by their names. Add yours by declaration merging, so that `coffer.plugin('mine')` is
 * typed:
 *
 * ```ts
 * declare module 'coffer' {
 *   interface Plugins { mine: MyPlugin }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: others add to it
export interface Plugins {}

/** What all plugins have: a coffer, and an end. */
export abstract class Plugin implements AsyncDisposable {
  /** The coffer that the plugin belongs to. */
  protected readonly coffer: Coffer

  constructor({ coffer }: PluginHost) {
    this.coffer = coffer
  }

  /** Ends the work with the plugin. The coffer stays open. */
  async close(): Promise<void> {}

  /** The same as {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const registered = new Map<string, PluginClass>()

/**
 * Makes a plugin known under a name.
 *
 * @throws {CofferError} `ERR_COFFER_INVALID_ARG` if the name is taken
 */
export function registerPlugin<N extends keyof Plugins & string>(name: N, plugin: PluginClass<Plugins[N] & Plugin>): void {
  if (registered.has(name)) throw invalid(`there is a plugin ${name} already`)
  registered.set(name, plugin)
}

/** A plugin for a coffer. */
export async function openPlugin(name: string, host: PluginHost): Promise<Plugin> {
  const found = registered.get(name)
  if (found) return new found(host)
  const known = [...registered.keys()].join(', ')
  throw new CofferError('ERR_COFFER_INVALID_ARG', `there is no plugin ${name}: there are ${known || 'none'}`)
}
