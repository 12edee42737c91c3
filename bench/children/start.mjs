// @ts-check
/** From the import of the package to the first sealed byte in a file, with its parts. */
import { statSync } from 'node:fs'

const start = performance.now()
const { CofferBank } = await import('coffer')
const imported = performance.now()
const path = process.argv[2] ?? ''
const bank = await CofferBank.open(path, 'x', CofferBank.generateKeys())
const sealed = performance.now()
if (statSync(path).size === 0) throw new Error('nothing is sealed yet')
await bank.write('first', 'x')
const written = performance.now()
await bank.close()
console.log(JSON.stringify({ imported: imported - start, sealed: sealed - start, written: written - start }))
