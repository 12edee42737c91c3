import { expect, it } from 'vitest'
import { binding } from '../../ts/binding/native.ts'
import { bankCiphers, ciphers } from '../../ts/keys/kinds.ts'

it("lists the engine's ciphers, with the same lengths of keys and the same choice for banks", () => {
  const engine = binding.ciphers()
  const facade = Object.entries(ciphers).map(([name, { keyBytes }]) => ({
    name,
    // The facade generates the first, the engine the last.
    keyLengths: keyBytes.toReversed(),
    suitsBanks: bankCiphers.some((cipher) => cipher === name),
  }))
  expect(engine).toEqual(facade)
})
