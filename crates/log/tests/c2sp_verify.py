#!/usr/bin/env python3
"""Verifies a log directory from the C2SP texts alone: tlog-tiles, tlog-checkpoint, signed-note.

    c2sp_verify.py DIRECTORY VERIFIER_KEY

Prints `SIZE ROOT` (the root in base64) and exits with 0 if every entry, every tile and the signature
agree; says what does not and exits with 1 otherwise. Standard library only; shares no code with the
writer.
"""

import base64
import hashlib
import json
import os
import sys


class Finding(Exception):
    pass


# Ed25519 verification, RFC 8032 section 5.1, over points (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    i, j, k, l = f - e, h - g, h + g, f + e
    return (i * j % P, k * l % P, j * k % P, i * l % P)


def times(scalar, point):
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def x_of(y, odd):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if odd else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return P - x if (x & 1) != odd else x


def point(data):
    number = int.from_bytes(data, "little")
    y, odd = number & (2**255 - 1), number >> 255
    x = x_of(y, odd)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = x_of(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def ed25519_verifies(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    return same(times(s, BASE), add(r, times(int.from_bytes(digest, "little") % ORDER, a)))


# signed-note and tlog-checkpoint


def read_key(text):
    name, key_id, encoded = text.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    if hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() != key_id or key[0] != 1:
        raise Finding("the verifier key is not an Ed25519 note key")
    return name, bytes.fromhex(key_id), key[1:]


def read_checkpoint(data, key):
    name, key_id, public = key
    text, separator, signatures = data.decode().rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise Finding("the checkpoint is no signed note")
    text += "\n"
    verified = False
    for line in signatures[:-1].split("\n"):
        if not line.startswith("\u2014 "):
            raise Finding("a signature line does not start with a dash")
        signer, encoded = line[2:].split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if base64.b64encode(signature).decode() != encoded:
            raise Finding("a signature has more than one spelling")
        if signer == name and signature[:4] == key_id:
            if not ed25519_verifies(public, text.encode(), signature[4:]):
                raise Finding("the checkpoint's signature is wrong")
            verified = True
    if not verified:
        raise Finding("the checkpoint is not signed with this key")
    origin, size, root = text.split("\n")[:3]
    if origin != name or str(int(size)) != size:
        raise Finding("the checkpoint is of another log")
    return int(size), base64.b64decode(root, validate=True)


# tlog-tiles


def tile_path(level, index, width):
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/" + "/".join(parts) + (f".p/{width}" if width < 256 else "")


def read(directory, name):
    try:
        with open(os.path.join(directory, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise Finding(f"{name}: {error.strerror}") from None


def tiles(directory, level, nodes):
    for index in range((nodes + 255) // 256):
        name = tile_path(level, index, min(256, nodes - index * 256))
        yield name, read(directory, name)


def read_entries(directory, size):
    entries = []
    for name, data in tiles(directory, "entries", size):
        place, expected = 0, min(256, size - len(entries)) + len(entries)
        while place < len(data):
            length = int.from_bytes(data[place : place + 2], "big")
            entry = data[place + 2 : place + 2 + length]
            if len(entry) != length or place + 2 > len(data):
                raise Finding(f"{name} ends within an entry")
            entries.append(entry)
            place += 2 + length
        if len(entries) != expected:
            raise Finding(f"{name} does not hold the right number of entries")
    return entries


# RFC 6962 section 2.1


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_hash(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(tree_hash(hashes[:split]), tree_hash(hashes[split:]))


def verify(directory, key_text):
    size, root = read_checkpoint(read(directory, "checkpoint"), read_key(key_text))
    entries = read_entries(directory, size)
    for seq, entry in enumerate(entries):
        if json.loads(entry).get("seq") != seq:
            raise Finding(f"record {seq} does not say that it is this record")
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    if tree_hash(leaves) != root:
        raise Finding("the records are not those that were signed")
    level, hashes = 0, leaves
    while hashes:
        for index, (name, data) in enumerate(tiles(directory, level, len(hashes))):
            if data != b"".join(hashes[index * 256 : index * 256 + 256]):
                raise Finding(f"{name} does not follow from the records")
        full = range(len(hashes) // 256)
        hashes = [tree_hash(hashes[index * 256 : index * 256 + 256]) for index in full]
        level += 1
    return size, root


def main():
    try:
        size, root = verify(sys.argv[1], sys.argv[2])
    except (Finding, ValueError) as finding:
        print(finding, file=sys.stderr)
        return 1
    print(size, base64.b64encode(root).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
