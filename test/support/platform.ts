/** Whether files have modes and owners, and open ones may be removed: everywhere but on Windows. */
export const posix = process.platform !== 'win32'
