/** The coffers as contestants. */
import {
  type Coffer,
  CofferBank,
  CofferMarket,
  CofferNull,
  CofferStore,
  type OpenFlags,
  type WritableOptions,
} from 'coffer'

export interface Kind {
  readonly name: string
  open(path: string, mode: OpenFlags, options?: WritableOptions): Promise<Coffer>
}

const bankKeys = CofferBank.generateKeys()
const ocbKeys = CofferBank.generateKeys({ cipher: 'aes-ocb' })
const storeKeys = CofferStore.generateKeys()
const marketKeys = CofferMarket.generateKeys()

export const bank: Kind = {
  name: 'CofferBank',
  open: (path, mode, options) => CofferBank.open(path, mode, { ...bankKeys, ...options }),
}
export const ocbBank: Kind = {
  name: 'CofferBank, AES-OCB',
  open: (path, mode, options) => CofferBank.open(path, mode, { ...ocbKeys, cipher: 'aes-ocb', ...options }),
}
/** A bank with the keys that peers/worker.py has, so that PyCoffer opens the very same file. */
export const commonBank: Kind = {
  name: 'CofferBank, AES-128-OCB',
  open: (path, mode, options) =>
    CofferBank.open(path, mode, {
      cofferKey: Uint8Array.from({ length: 16 }, (_, index) => index),
      secureKey: Uint8Array.from({ length: 32 }, (_, index) => 100 + index),
      ...options,
    }),
}
/** The same, as quick to say that it is done as PyCoffer, which does not wait for the disk. */
export const likeBank: Kind = {
  name: 'CofferBank, sealed and synced as PyCoffer’s',
  open: (path, mode, options) => commonBank.open(path, mode, { durability: 'none', ...options }),
}
export const store: Kind = {
  name: 'CofferStore',
  open: (path, mode, options) => CofferStore.open(path, mode, { ...storeKeys, ...options }),
}
export const market: Kind = {
  name: 'CofferMarket',
  open: (path, mode, options) => CofferMarket.open(path, mode, { ...marketKeys, ...options }),
}
export const nothing: Kind = {
  name: 'CofferNull',
  open: (path, mode, options) => CofferNull.open(path, mode, { ...options }),
}
