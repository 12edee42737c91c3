/**
 * The base classes of plugins, without Coffer's binary: for packages with plugins, whose users load Coffer and
 * hand the classes to {@link Coffer.plugin}.
 *
 * @example
 * ```js
 * import { CofferNull } from 'coffer'
 * import { CofferPlugin } from 'coffer/plugin'
 *
 * class Size extends CofferPlugin {
 *   async total() {
 *     return (await this.coffer.members()).reduce((total, { size }) => total + size, 0)
 *   }
 * }
 *
 * const box = await CofferNull.open('box.coffer', 'w')
 * await box.write('a', '123')
 * const size = await box.plugin(Size)
 * console.log(await size.total()) // 3
 * await box.close()
 * ```
 *
 * @module coffer/plugin
 */
export type { Coffer } from '../coffer/coffer.ts'
export type { Cryptor } from '../crypt/cryptor.ts'
export {
  CofferPlugin,
  KeyPlugin,
  type Plugin,
  type PluginClass,
  type PluginHost,
  RecordPlugin,
} from '../plugins/base.ts'
export type { PluginName, Plugins } from '../plugins/own.ts'
