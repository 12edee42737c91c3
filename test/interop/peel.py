"""Takes every layer off everything in a coffer, dead space included, and looks for bytes in it.

This is what somebody with the keys and a grudge would do: it does not follow the catalog, it opens
every chunk that opens and inflates everything that looks like a zstd frame.
"""

import base64
import struct

from backports import zstd
from Crypto.Cipher import AES
from cryptography.fernet import Fernet, InvalidToken
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

ZSTD_MAGIC = bytes.fromhex("28b52ffd")
CHUNK_HEAD = 32
CONTAINER = {"bank": "fernet", "bank-aes-ocb": "aes-ocb", "store": "secretbox", "market": None, "null": None}
MEMBER = {"bank": "secretbox", "bank-aes-ocb": "secretbox", "store": None, "market": "secretbox", "null": None}


def unseal(cipher, key, payload):
    """The plaintext of one chunk, or None if the key does not open it."""
    try:
        if cipher == "secretbox":
            return SecretBox(key).decrypt(payload)
        if cipher == "fernet":
            return Fernet(base64.urlsafe_b64encode(key)).decrypt(payload)
        tag, nonce, text = payload[:16], payload[16:31], payload[31:]
        return AES.new(key, AES.MODE_OCB, nonce=nonce).decrypt_and_verify(text, tag)
    except (CryptoError, InvalidToken, ValueError, TypeError):
        return None


def chunk_at(data, at):
    """The sealed payload of the chunk at an offset, or None if there is none."""
    if at + CHUNK_HEAD > len(data):
        return None
    length = struct.unpack_from("<I", data, at)[0]
    payload = data[at + CHUNK_HEAD : at + CHUNK_HEAD + length]
    return payload if length and len(payload) == length else None


def opened_chunks(data, at, cipher, key):
    """The plaintexts of the chunks that follow one another from an offset."""
    while (payload := chunk_at(data, at)) is not None:
        plain = unseal(cipher, key, payload)
        if plain is not None:
            yield plain
        at += CHUNK_HEAD + len(payload)


def inflated(data):
    """Whatever can be inflated from each place that looks like the beginning of a zstd frame."""
    at = data.find(ZSTD_MAGIC)
    while at >= 0:
        try:
            yield zstd.ZstdDecompressor().decompress(data[at:], 64 << 20)
        except zstd.ZstdError:
            pass
        at = data.find(ZSTD_MAGIC, at + 1)


def member_layers(text, cipher, key):
    """A tar's text with the member layer taken off at each place where a member may begin."""
    if cipher is None:
        yield from inflated(text)
        return
    for at in range(0, len(text), 512):
        if text[at + 4 : at + CHUNK_HEAD] == bytes(CHUNK_HEAD - 4) and text[at : at + 4] != bytes(4):
            plain = b"".join(opened_chunks(text, at, cipher, key))
            if plain:
                yield plain
                yield from inflated(plain)


def layers(kind, data, coffer_key, secure_key, offsets):
    """Every text there is in a coffer, with the name of the layer it was found below."""
    yield "file", data
    streams = [data]
    if CONTAINER[kind] is not None:
        streams = [b"".join(opened_chunks(data, 0, CONTAINER[kind], coffer_key))]
        for at in offsets:
            payload = chunk_at(data, at)
            plain = payload and unseal(CONTAINER[kind], coffer_key, payload)
            if plain:
                streams.append(plain)
    for stream in streams:
        yield "chunks", stream
        for text in inflated(stream):
            yield "tar", text
            for inner in member_layers(text, MEMBER[kind], secure_key):
                yield "member", inner


def search(kind, path, coffer_key, secure_key, needles, offsets):
    """The layers each needle is found in; `offsets` are places where chunks used to begin."""
    with open(path, "rb") as file:
        data = file.read()
    found = {name: [] for name in needles}
    for where, text in layers(kind, data, coffer_key, secure_key, offsets):
        for name, needle in needles.items():
            if needle in text and where not in found[name]:
                found[name].append(where)
    return found
