"""JWT-SVIDs and their key sets by PyJWT, with any defect that is asked for.

    jwt_svid.py jwks KEY KID [USE]                   the public key as a JWKS
    jwt_svid.py token KEY ALG CLAIMS [HEADERS]       a token; claims and headers are JSON
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import ECAlgorithm


def main():
    command, path, *rest = sys.argv[1:]
    with open(path, "rb") as file:
        pem = file.read()
    key = serialization.load_pem_private_key(pem, None)
    if command == "jwks":
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": rest[0]}
        print(json.dumps({"keys": [jwk | ({"use": rest[1]} if rest[1:] else {})]}))
        return
    algorithm, claims, *headers = rest
    headers = json.loads(headers[0]) if headers else {}
    if algorithm == "HS256":
        # What an attacker has: the public key, taken for a shared secret.
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        secret = key.public_key().public_bytes(*form)
        jwt.algorithms.HMACAlgorithm.prepare_key = lambda _self, _key: secret
    print(jwt.encode(json.loads(claims), None if algorithm == "none" else key, algorithm, headers, sort_headers=False))


main()
