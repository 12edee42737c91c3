import type { NativeCoffer } from '../binding/native.ts'

/**
 * The plugins by their names, for {@link Coffer.plugin}. Add yours by declaration merging, so that
 * `coffer.plugin('mine')` is typed:
 *
 * ```ts
 * declare module 'coffer' {
 *   interface Plugins { mine: MyPlugin }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: those that come with Coffer are declared where they are made known
export interface Plugins {}

/** The name of a plugin. */
export type PluginName = keyof Plugins & string

/** What a coffer hands over for a plugin. */
export interface PluginRequest<Coffer> {
  readonly coffer: Coffer
  readonly native: NativeCoffer
  /** Makes a change, and fails where it would wait for the batch that it is made in. */
  readonly change: <T>(call: string, work: () => Promise<T>) => Promise<T>
}

/** Makes the plugin of a name for a coffer. */
type PluginFactory = (name: string, request: PluginRequest<never>) => Promise<unknown>

let factory: PluginFactory | undefined

/** Sets what makes plugins. They are made of coffers, so coffers cannot import them. */
export function providePlugins(make: PluginFactory): void {
  factory = make
}

/** A plugin for a coffer. The names of the plugins say of which class it is. */
export async function openPlugin<N extends PluginName>(name: N, request: PluginRequest<object>): Promise<Plugins[N]> {
  return (await factory?.(name, request as PluginRequest<never>)) as Plugins[N]
}
