import type { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** The numbers of the system's errors by their names, as errors of Node.js have them: negative. */
export const errnos = Object.fromEntries(
  [...getSystemErrorMap()].map(([number, [name]]) => [name, number]),
) as unknown as Readonly<Record<keyof typeof constants.errno, number>>
