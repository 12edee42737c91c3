"""Drives PyCoffer for the tests: one JSON command a line on stdin, one JSON answer a line on stdout.

One process stays up for a whole suite, so that it can hold a coffer open, and with it the lock,
while the test goes on. An answer is {"ok": value} or {"error": {"type": ..., "message": ...}}.
Binary values travel as base64.

PyCoffer's Store and Market can only read members in mode 'r': in 'w' and 'a' they hand zstd's
compression parameters to its decompressor, which refuses them.
"""

import ast
import base64
import datetime
import hashlib
import json
import os
import sys

import cbor2
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from pycoffer import Coffer
from pycoffer.coffers.bank import CofferBank
from pycoffer.coffers.market import CofferMarket
from pycoffer.coffers.null import CofferNull
from pycoffer.coffers.store import CofferStore
from pycoffer.plugins.password import PasswordInfo
from fernetfile.tar import TarFile as FernetTar
from naclfile.zstd import open as nacl_zstd_open

import forge
import peel

HANDLES = {}


def decode_key(text):
    """A base64 or base64url key, padded or not, as bytes."""
    if text is None:
        return None
    return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))


def make(kind, path, mode, keys, **options):
    """The PyCoffer object for one of our kinds."""
    coffer_key, secure_key = decode_key(keys.get("cofferKey")), decode_key(keys.get("secureKey"))
    if kind == "bank-aes-ocb":
        return CofferBank(path, mode=mode, coffer_key=coffer_key, secure_key=secure_key, **options)
    if kind == "bank":
        return Coffer(
            path,
            mode=mode,
            secure_open=nacl_zstd_open,
            secure_params={"secret_key": secure_key},
            container_class=FernetTar,
            container_params={"fernet_key": base64.urlsafe_b64encode(coffer_key)},
            **options,
        )
    if kind == "store":
        return CofferStore(path, mode=mode, coffer_key=coffer_key, **options)
    if kind == "market":
        return CofferMarket(path, mode=mode, secure_key=secure_key, **options)
    if kind == "null":
        return CofferNull(path, mode=mode, **options)
    raise ValueError(f"unknown kind {kind!r}")


def digest(coffer):
    """What PyCoffer sees: the size and SHA-256 of every member, by name."""
    seen = {}
    for member in coffer.getmembers():
        data = coffer.read(member)
        seen[member.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return seen


def do_open(handle, kind, path, mode, keys, **options):
    coffer = make(kind, path, mode, keys, **options)
    try:
        coffer.open()
    except BaseException:
        # PyCoffer makes its temp directory before it asks for the lock, and leaves it behind.
        if coffer.dirpath is not None:
            os.rmdir(coffer.dirpath)
        raise
    HANDLES[handle] = coffer


def do_close(handle):
    HANDLES.pop(handle).close()


def do_close_halfway(handle):
    """Close, but stop where PyCoffer has released its lock and not yet removed the lock file. That is
    where its race is: whoever takes the lock now loses the file. Other commands are served there, and
    `close_rest` goes on. It all stays in one thread, because a lock belongs to the thread that took it."""
    coffer = HANDLES.pop(handle)
    remove = os.remove

    def halfway(path):
        os.remove = remove
        answer({"ok": None})
        serve(until="close_rest")
        remove(path)

    os.remove = halfway
    coffer.close()


def do_write(handle, name, data):
    HANDLES[handle].write(base64.b64decode(data), name)


def do_append(handle, name, data):
    HANDLES[handle].append(base64.b64decode(data), name)


def do_read(handle, name):
    return base64.b64encode(HANDLES[handle].read(name)).decode()


def do_readlines(handle, name):
    return HANDLES[handle].readlines(name)


def do_writelines(handle, name, lines):
    HANDLES[handle].writelines(lines, name)


def do_load_cbor(handle, name):
    """A member of CBOR, as Python shows it; of a record of passwords, what is under its mask."""
    value = cbor2.loads(HANDLES[handle].read(name))
    if isinstance(value, dict) and set(value) == {"mask", "masked"}:
        plain = Cipher(AES(value["mask"]), CTR(bytes(16))).decryptor().update(value["masked"])
        value = cbor2.loads(plain[4 : 4 + int.from_bytes(plain[:4], "big")])
    return repr(value)


def do_dump_cbor(handle, name, literal):
    """Writes a Python literal, in which {"date": ...} stands for a date, as CBOR."""
    value = ast.literal_eval(literal)
    if isinstance(value, dict) and "date" in value:
        value["date"] = datetime.datetime.fromisoformat(value["date"])
    HANDLES[handle].write(cbor2.dumps(value), name)


def do_add_passwords(handle, passwords):
    """Through PyCoffer's own plugin, which pickles them."""
    with HANDLES[handle].plugin("password") as plugin:
        for fields in passwords:
            plugin.add(PasswordInfo(**fields))


def do_add(handle, source, name):
    HANDLES[handle].add(source, name)


def do_delete(handle, name):
    HANDLES[handle].delete(name)


def do_flush(handle):
    HANDLES[handle].flush()


def do_extractall(handle, target):
    HANDLES[handle].extractall(target)


def do_encrypt(handle, source, target):
    with HANDLES[handle].plugin("crypt") as crypt:
        crypt.encrypt(source, target)


def do_decrypt(handle, source, target):
    with HANDLES[handle].plugin("crypt") as crypt:
        crypt.decrypt(source, target)


def do_encrypt_append(handle, target, data):
    """What PyCoffer's own file object does in mode 'a': another frame behind those that are there."""
    with HANDLES[handle].crypt_open(target, "ab") as file:
        file.write(base64.b64decode(data))


def do_digest(handle):
    return digest(HANDLES[handle])


def do_list(kind, path, keys):
    """Open for reading without a lock, digest, close. PyCoffer's close removes a lock file that is
    not its own, so the lock file is put out of its sight by a link of another name."""
    alias = f"{path}.seen-by-pycoffer"
    os.link(path, alias)
    try:
        coffer = make(kind, alias, "r", keys, lock_type="w")
        with coffer:
            return digest(coffer)
    finally:
        os.unlink(alias)


def do_search(kind, path, keys, needles, offsets=()):
    """Where each needle is found when every layer is peeled off everything in the file."""
    wanted = {needle: base64.b64decode(needle) for needle in needles}
    return peel.search(kind, path, decode_key(keys.get("cofferKey")), decode_key(keys.get("secureKey")),
                       wanted, offsets)


def do_reseal(kind, path, keys, start, tags, own):
    """Seals Coffer's records from an offset on again: with its own key, or with the user's raw one."""
    sealed = kind not in ("market", "null")
    key = decode_key(keys["cofferKey" if sealed else "secureKey"])
    return forge.reseal(sealed, path, start, key, [tag.encode() for tag in tags], own)


def do_ping():
    return "pong"


def answer(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def serve(until=None):
    """Answers commands, to the last one or to the one that is waited for, which is not answered here."""
    commands = {name[3:]: function for name, function in globals().items() if name.startswith("do_")}
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("do")
        if command == until:
            return
        try:
            answer({"ok": commands[command](**request)})
        except Exception as error:  # every failure is an answer; the test decides what it means
            answer({"error": {"type": type(error).__name__, "message": str(error)}})


if __name__ == "__main__":
    serve()
