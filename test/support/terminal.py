"""Runs a command in a pseudo-terminal, and sends it keys when it has written what was waited for."""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT_S = 50


def main():
    work = json.load(sys.stdin)
    steps = list(work["steps"])
    child, terminal = pty.fork()
    if child == 0:
        size = struct.pack("HHHH", 24, work["columns"], 0, 0)
        fcntl.ioctl(0, termios.TIOCSWINSZ, size)
        os.execv(work["argv"][0], work["argv"])
    output = b""
    seen = 0
    end = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.1)
            if ready:
                try:
                    data = os.read(terminal, 65536)
                except OSError:
                    break
                if not data:
                    break
                output += data
            while steps and (at := output.find(steps[0]["expect"].encode(), seen)) >= 0:
                step = steps.pop(0)
                seen = at + len(step["expect"].encode())
                os.write(terminal, step["send"].encode())
        else:
            os.kill(child, 9)
            output += b"\n(the pseudo-terminal waited too long)"
    finally:
        _, status = os.waitpid(child, 0)
    text = output.decode("utf-8", "replace")
    json.dump({"code": os.waitstatus_to_exitcode(status), "output": text}, sys.stdout)


main()
