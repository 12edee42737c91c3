/** All cases, in the order of the page. */
import type { Case } from '../case.ts'
import { largeFile, smallFiles } from './archives.ts'
import { commits } from './commits.ts'
import { documents } from './documents.ts'
import { engine } from './engine.ts'
import { million } from './million.ts'
import { eventLoop, memory, start } from './process.ts'
import { oneMember, opening } from './reading.ts'
import { updates } from './updates.ts'

export const cases: readonly Case[] = [
  documents,
  largeFile,
  smallFiles,
  oneMember,
  opening,
  commits,
  updates,
  million,
  memory,
  eventLoop,
  start,
  engine,
]
