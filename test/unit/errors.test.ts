import { CofferError } from 'coffer'
import { describe, expect, it } from 'vitest'
import { CofferError as SecondCopy } from '../../ts/errors.ts'

describe('a CofferError', () => {
  it('is an Error with a name, a code and what it is about', () => {
    const cause = new Error('below')
    const error = new CofferError('ERR_COFFER_IO', 'write failed', { path: '/a', errno: -28, syscall: 'write', cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ code: 'ERR_COFFER_IO', path: '/a', errno: -28, syscall: 'write', cause })
    expect(String(error)).toBe('CofferError: write failed')
    expect(Object.keys(error)).toEqual(['code', 'path', 'errno', 'syscall'])
  })

  it('has no fields for what is not known', () => {
    const error = new CofferError('ERR_COFFER_CLOSED', 'closed', { path: undefined })
    expect('path' in error).toBe(false)
    expect('cause' in error).toBe(false)
  })

  it('is recognized by a second copy of the package', () => {
    expect(SecondCopy).not.toBe(CofferError)
    expect(new CofferError('ERR_COFFER_CLOSED', 'closed')).toBeInstanceOf(SecondCopy)
    expect(new SecondCopy('ERR_COFFER_CLOSED', 'closed')).toBeInstanceOf(CofferError)
  })

  it.each([new Error('x'), { code: 'ERR_COFFER_IO' }, null, undefined, 'CofferError'])('is not %o', (value) => {
    expect(value instanceof CofferError).toBe(false)
  })
})
