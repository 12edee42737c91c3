// Without binfmt_misc the system cannot run Node.js for arm64 by its own path, only through the command that emulates it.
process.execPath = process.env.COFFER_EMULATED_NODE
