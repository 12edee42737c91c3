"""What PyCoffer does in the benchmark: reads a job as JSON, prints the times it took as JSON."""

import json
import sys
import time

from pycoffer.coffers.bank import CofferBank
from pycoffer.coffers.market import CofferMarket
from pycoffer.coffers.store import CofferStore

CLASSES = {each.__name__: each for each in (CofferBank, CofferStore, CofferMarket)}
# A bank's outer key has 16 bytes in PyCoffer's own benchmark: AES-128 in OCB mode.
KEYS = {
    'CofferBank': {'coffer_key': bytes(range(16)), 'secure_key': bytes(range(100, 132))},
    'CofferStore': {'coffer_key': bytes(range(32))},
    'CofferMarket': {'secure_key': bytes(range(100, 132))},
}


def documents(className, coffer, rounds, target):
    start = time.perf_counter()
    adds = []
    with CLASSES[className](coffer, mode='w', **KEYS[className]) as box:
        for files in rounds:
            before = time.perf_counter()
            for name, path in files:
                box.add(path, name)
            adds.append(time.perf_counter() - before)
    written = time.perf_counter()
    with CLASSES[className](coffer, 'rb', **KEYS[className]) as box:
        box.extractall(target)
    return {'write': written - start, 'adds': adds, 'extract': time.perf_counter() - written}


def read(coffer, member):
    start = time.perf_counter()
    with CofferBank(coffer, 'rb', **KEYS['CofferBank']) as box:
        box.read(member)
    return time.perf_counter() - start


job = json.load(sys.stdin)
print(json.dumps({'documents': documents, 'read': read}[sys.argv[1]](**job)))
