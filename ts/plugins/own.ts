import { shown } from '../check.ts'
import type { Coffer } from '../coffer/coffer.ts'
import { isPluginClass, type PluginClass, type PluginRequest, setPluginFactory } from '../coffer/plugins.ts'
import { CofferError, invalid } from '../errors.ts'
import type { CryptPlugin } from './crypt.ts'
import type { PasswordPlugin } from './password.ts'
import type { RsyncPlugin } from './rsync.ts'

export type { PluginName, Plugins } from '../coffer/plugins.ts'

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

setPluginFactory(async (plugin, { coffer, native, change }: PluginRequest<Coffer>) => {
  const Class = typeof plugin === 'string' ? await ownClass(plugin) : checkClass(plugin)
  const { path, closed } = coffer
  if (closed) throw new CofferError('ERR_COFFER_CLOSED', `${path} is closed`, { path })
  const [{ Cryptor }, { Trees }] = await Promise.all([import('../crypt/cryptor.ts'), import('../rsync/trees.ts')])
  return new Class({ coffer, crypt: new Cryptor(native), trees: new Trees(native, change) })
})

async function ownClass(name: string): Promise<PluginClass> {
  if (Object.hasOwn(own, name)) return own[name as keyof typeof own]()
  const names = Object.keys(own).join(', ')
  throw invalid(`Coffer has no plugin ${shown(name, 'name')}: it has ${names}, and others are given as their class`)
}

function checkClass(plugin: PluginClass): PluginClass {
  const fits = isPluginClass(plugin)
  if (fits === true) return plugin
  if (fits === 'other') {
    throw invalid(
      'the class of the plugin extends one of another version of coffer, which does not work with this one: install one version for both (npm ls coffer shows which there are)',
    )
  }
  throw invalid(
    `a plugin is given as its name, or as a class that extends CofferPlugin, RecordPlugin or KeyPlugin, not ${shown(plugin)}`,
  )
}
