#!/usr/bin/env python3
"""Verifies a C2SP tlog-proof whose `extra` is the record, by the algorithm of RFC 9162, section 2.1.3.2.

    c2sp_proof.py PROOF VERIFIER_KEY

Prints `INDEX SIZE` and exits with 0 if the record is in the tree; says why not and exits with 1 otherwise.
"""

import base64
import hashlib
import sys

from c2sp_verify import Finding, read_checkpoint, read_key


def verify(text, key):
    head, _, checkpoint = text.partition("\n\n")
    header, extra, index, *hashes = head.split("\n")
    if header != "c2sp.org/tlog-proof@v1" or extra[:6] != "extra " or index[:6] != "index ":
        raise Finding("it is no proof with a record")
    size, root = read_checkpoint(checkpoint.encode(), read_key(key))
    index = int(index[6:])
    if index >= size:
        raise Finding("the record is beyond the checkpoint")
    result = hashlib.sha256(b"\0" + base64.b64decode(extra[6:], validate=True)).digest()
    fn, sn = index, size - 1
    for text in hashes:
        if sn == 0:
            raise Finding("the path is too long")
        node = base64.b64decode(text, validate=True)
        if fn & 1 or fn == sn:
            result = hashlib.sha256(b"\1" + node + result).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = hashlib.sha256(b"\1" + result + node).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn or result != root:
        raise Finding("the path does not lead to the root")
    return index, size


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            print(*verify(file.read(), sys.argv[2]))
    except Finding as finding:
        sys.exit(f"{finding}")
