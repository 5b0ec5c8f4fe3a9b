"""A tool with a key of its own: DPoP proofs (RFC 9449) by PyJWT, with any defect that is asked for.

    dpop_tool.py key FILE                                  makes a private key on P-256
    dpop_tool.py thumbprint FILE                           of its public half (RFC 7638)
    dpop_tool.py proof FILE METHOD URL [TOKEN [CLAIMS [HEADERS]]]
                                                           a proof; claims and headers are JSON and win, null removes
"""

import base64
import hashlib
import json
import os
import sys
import time
import uuid

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key):
    jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: jwk[name] for name in ("crv", "kty", "x", "y")}


def make(path):
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key.private_bytes(*form))


def changed(made, changes):
    made |= json.loads(changes)
    return {name: value for name, value in made.items() if value is not None}


def proof(key, method, url, token="", claims="{}", headers="{}"):
    said = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if token:
        said["ath"] = encoded(hashlib.sha256(token.encode()).digest())
    head = changed({"typ": "dpop+jwt", "jwk": public(key)}, headers)
    return jwt.encode(changed(said, claims), key, "ES256", head)


def main():
    command, path, *rest = sys.argv[1:]
    if command == "key":
        make(path)
        return
    with open(path, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    if command == "thumbprint":
        members = json.dumps(public(key), separators=(",", ":"), sort_keys=True)
        print(encoded(hashlib.sha256(members.encode()).digest()))
    else:
        print(proof(key, *rest))


main()
