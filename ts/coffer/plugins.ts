import type { NativeCoffer } from '../binding/native.ts'

/**
 * The plugins by their names, for {@link Coffer.plugin}. Add others by declaration merging, so that
 * `coffer.plugin('mine')` is typed:
 *
 * ```ts
 * declare module 'coffer' {
 *   interface Plugins { mine: MyPlugin }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: plugins/registry.ts declares those that come with Coffer
export interface Plugins {}

/** The name of a plugin. */
export type PluginName = keyof Plugins & string

/** What a plugin is made from. */
export interface PluginRequest<Coffer> {
  readonly coffer: Coffer
  readonly native: NativeCoffer
  /** Runs a change, and fails if it would wait for the batch that it is made in. */
  readonly change: <T>(call: string, work: () => Promise<T>) => Promise<T>
}

type MakePlugin<Coffer> = (name: string, request: PluginRequest<Coffer>) => Promise<unknown>

let make: MakePlugin<never> = () => Promise.reject(new Error('ts/plugins/registry.ts is not loaded'))

/** Sets what makes plugins. A plugin is made from a coffer, so this module cannot import the plugins. */
export function setPluginFactory<Coffer>(factory: MakePlugin<Coffer>): void {
  make = factory
}

/** Makes a plugin for a coffer. Its class follows from its name: see {@link Plugins}. */
export async function openPlugin<N extends PluginName>(name: N, request: PluginRequest<object>): Promise<Plugins[N]> {
  return (await make(name, request as PluginRequest<never>)) as Plugins[N]
}
