"""Competes for a coffer's lock with real PyCoffer, as long as its standard input is open: opens the
coffer, which takes the lock, reads the member `counter`, and closes it, which releases the lock and
then removes the lock file. Reports, a line each:

    won 17      the lock was held, and the counter read
    failed …    the lock was held, and the coffer could not be read
"""

import base64
import os
import select
import sys

from filelock import Timeout
from pycoffer.coffers.store import CofferStore

path, key = sys.argv[1], base64.urlsafe_b64decode(sys.argv[2] + "=" * (-len(sys.argv[2]) % 4))


def report(line):
    os.write(1, f"{line}\n".encode())


while not select.select([sys.stdin], [], [], 0)[0]:
    coffer = CofferStore(path, mode="r", coffer_key=key, lock_timeout=0.2)
    try:
        coffer.open()
    except Timeout:
        os.rmdir(coffer.dirpath)
        continue
    except Exception as error:
        report(f"failed {type(error).__name__}: {error}")
        coffer.close()
        continue
    try:
        report(f"won {int(coffer.read('counter'))}")
    finally:
        coffer.close()
