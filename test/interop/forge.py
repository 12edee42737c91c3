"""Seals Coffer's own records again, with a key of the forger's choice.

A chunk of a coffer is sealed with the user's raw key, and what is in it may have been chosen by
somebody else: the contents of a member can be placed so that they fill a chunk. Whoever can do that
and can write to the file has any bytes he likes, sealed with the raw key. This module makes what
he could then append: a commit that is right in every byte, sealed with the raw key. Sealed with the
metadata key instead, the same commit is genuine, which shows that nothing else stands in its way.
"""

import struct

from nacl.secret import SecretBox

CONTEXT = b"coffer v1 metadata key"
CHUNK_HEAD = 32
SKIPPABLE_HEAD = 8
MARK = 28

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, ROOT, DERIVE_CONTEXT, DERIVE_MATERIAL = 1, 2, 8, 32, 64


def blake3_block(key, data, flags):
    """BLAKE3 of at most one block (64 bytes), keyed, as eight words."""
    rotate = lambda x, n: (x >> n | x << (32 - n)) & 0xFFFFFFFF
    message = list(struct.unpack("<16I", data.ljust(64, b"\0")))
    v = [*key, *IV[:4], 0, 0, len(data), flags | CHUNK_START | CHUNK_END | ROOT]

    def mix(a, b, c, d, x, y):
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
            v[d] = rotate(v[d] ^ v[a], first)
            v[c] = (v[c] + v[d]) & 0xFFFFFFFF
            v[b] = rotate(v[b] ^ v[c], second)

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, message[2 * i], message[2 * i + 1])
        for i in range(4):
            mix(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, message[8 + 2 * i], message[9 + 2 * i])
        message = [message[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def metadata_key(key):
    """BLAKE3's derive_key with the context of the metadata key."""
    context = blake3_block(IV, CONTEXT, DERIVE_CONTEXT)
    return struct.pack("<8I", *blake3_block(context, key, DERIVE_MATERIAL))


def records(sealed, data, start):
    """The offset, length and tag of each piece of the file from an offset on."""
    at = start
    while at < len(data):
        if sealed:
            length = CHUNK_HEAD + struct.unpack_from("<I", data, at)[0]
            tag = data[at + 4 : at + 8]
        elif data[at : at + 4] == b"\x5c\x2a\x4d\x18":
            length = SKIPPABLE_HEAD + struct.unpack_from("<I", data, at + 4)[0]
            tag = data[at + 8 : at + 12]
        else:
            at += 1  # somewhere in a zstd frame
            continue
        yield at, length, tag
        at += length


def reseal(sealed, path, start, key, tags, own):
    """Seals each record with one of the tags again: with the metadata key if `own`, or the raw one."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    raw, meta = SecretBox(key), SecretBox(metadata_key(key))
    seal = meta if own else raw
    count = 0
    for at, length, tag in list(records(sealed, data, start)):
        if tag not in tags:
            continue
        if sealed:
            plain = raw.decrypt(bytes(data[at + CHUNK_HEAD : at + length]))
            forged = plain[:SKIPPABLE_HEAD] + bytes(seal.encrypt(meta.decrypt(plain[SKIPPABLE_HEAD:])))
            data[at + CHUNK_HEAD : at + length] = bytes(raw.encrypt(forged))
        else:
            body = at + SKIPPABLE_HEAD + MARK
            data[body : at + length] = bytes(seal.encrypt(meta.decrypt(bytes(data[body : at + length]))))
        count += 1
    with open(path, "wb") as file:
        file.write(data)
    return count
