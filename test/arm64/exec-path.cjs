// What a test starts is started by qemu, too: a program for another processor does not start by itself.
process.execPath = process.env['COFFER_NODE']
