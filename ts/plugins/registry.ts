import { shown } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { type PluginName, type PluginRequest, type Plugins, setPluginFactory } from '../coffer/plugins.ts'
import { CofferError, invalid } from '../errors.ts'
import { Plugin, type PluginClass } from './base.ts'
import type { CryptPlugin } from './crypt.ts'
import type { PasswordPlugin } from './password.ts'
import type { RsyncPlugin } from './rsync.ts'

declare module '../coffer/plugins.ts' {
  interface Plugins {
    /** Encrypts and decrypts files outside the coffer. */
    crypt: CryptPlugin
    /** Keeps passwords. */
    password: PasswordPlugin
    /** Brings directory trees up to date, both ways. */
    rsync: RsyncPlugin
  }
}

/** The plugins that come with Coffer, which are loaded on demand. */
const own = {
  crypt: async () => (await import('./crypt.ts')).CryptPlugin,
  password: async () => (await import('./password.ts')).PasswordPlugin,
  rsync: async () => (await import('./rsync.ts')).RsyncPlugin,
} satisfies Record<string, () => Promise<PluginClass>>

const registered = new Map<string, PluginClass>()

const names = (): string[] => [...Object.keys(own), ...registered.keys()]

/**
 * Registers a plugin under a name, in this process. {@link CofferPlugin}, {@link RecordPlugin} and
 * {@link KeyPlugin} have examples.
 *
 * @typeParam N the name
 * @param name the name for {@link Coffer.plugin}
 * @param plugin its class, which extends one of the three
 * @throws {@link CofferError} `ERR_COFFER_INVALID_ARG` if the name is taken, or the class extends
 *   none of the three
 */
export function registerPlugin<N extends PluginName>(name: N, plugin: PluginClass<Plugins[N] & Plugin>): void {
  const text: string = name
  if (typeof text !== 'string' || text === '') {
    throw invalid(`the name of a plugin must be a string, not ${text === '' ? 'an empty string' : shown(name)}`)
  }
  if (typeof plugin !== 'function' || !(plugin.prototype instanceof Plugin)) {
    throw invalid(`the plugin ${name} must be a class that extends CofferPlugin, RecordPlugin or KeyPlugin`)
  }
  if (names().includes(name)) throw invalid(`there is a plugin ${name} already: choose another name`)
  registered.set(name, plugin)
}

setPluginFactory(async (name: string, { coffer, native, change }: PluginRequest<Coffer>) => {
  const plugin = Object.hasOwn(own, name) ? await own[name as keyof typeof own]() : registered.get(name)
  if (plugin === undefined) {
    throw invalid(`there is no plugin ${shown(name, 'name')}: there are ${names().join(', ')}`)
  }
  const { path, closed } = coffer
  if (closed) throw new CofferError('ERR_COFFER_CLOSED', `${path} is closed`, { path })
  const [{ Cryptor }, { Trees }] = await Promise.all([import('../crypt/cryptor.ts'), import('../rsync/trees.ts')])
  return new plugin({ coffer, crypt: new Cryptor(native), trees: new Trees(native, change) })
})
