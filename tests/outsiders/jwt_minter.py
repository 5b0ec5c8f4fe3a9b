"""Tokens by PyJWT, with every defect of group D that a token can have by itself.

    jwt_minter.py ISSUER AUDIENCE

Prints one JSON object: `keys` to publish (as JWKs), and two lists of [name, token]: `sound` and `defective`.
"""

import base64
import hashlib
import hmac
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = sys.argv[1:]
NOW = int(time.time())
KEYS = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
STRANGER = ec.generate_private_key(ec.SECP256R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def kid(algorithm: str) -> str:
    return f"py-{algorithm}"


def jwk(algorithm: str) -> dict:
    public = KEYS[algorithm].public_key()
    made = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(public))
    made.pop("key_ops", None)
    return made | {"kid": kid(algorithm), "alg": algorithm, "use": "sig"}


def claims(**changed) -> dict:
    made = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "py", "groups": ["readers"],
        "iat": NOW, "nbf": NOW, "exp": NOW + 300,
    }
    made |= changed
    return {name: value for name, value in made.items() if value is not ...}


def mint(algorithm="ES256", key=None, headers=None, **changed) -> str:
    headers = {"kid": kid(algorithm)} | (headers or {})
    return jwt.encode(claims(**changed), key or KEYS[algorithm], algorithm, headers)


def by_hand(header: dict, payload: str, sign) -> str:
    """For what PyJWT refuses to make."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(payload.encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def es256(message: bytes) -> bytes:
    return jwt.get_algorithm_by_name("ES256").sign(message, KEYS["ES256"])


def parts(token: str) -> tuple[str, str, str]:
    header, payload, signature = token.split(".")
    return header, payload, signature


def d01():
    yield "none", jwt.encode(claims(), None, "none", {"kid": kid("ES256")})
    for algorithm in ["none", "nOnE", "NONE", ""]:
        yield f"alg {algorithm!r}", by_hand({"alg": algorithm, "kid": kid("ES256")}, json.dumps(claims()), lambda _: b"")
    header, payload, signature = parts(mint())
    yield "an empty signature", f"{header}.{payload}."
    yield "no signature", f"{header}.{payload}"
    yield "four parts", f"{header}.{payload}.{signature}.{signature}"
    yield "a signature cut short", f"{header}.{payload}.{signature[:-4]}"
    yield "a signature with padding", f"{header}.{payload}.{signature}=="
    yield "a signature of zeros", f"{header}.{payload}.{b64(bytes(64))}"
    der = KEYS["ES256"].sign(f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
    yield "a signature in DER", f"{header}.{payload}.{b64(der)}"
    other = parts(mint(sub="other"))
    yield "another's payload", f"{header}.{other[1]}.{signature}"


def d02():
    for algorithm in ["RS256", "ES256"]:
        public = KEYS[algorithm].public_key()
        forms = [
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            json.dumps(jwk(algorithm)).encode(),
        ]
        for secret in forms:
            header = {"alg": "HS256", "kid": kid(algorithm)}
            sign = lambda message: hmac.new(secret, message, hashlib.sha256).digest()
            yield f"HS256 by the public key of {algorithm}", by_hand(header, json.dumps(claims()), sign)
    yield "PS256 by a key for RS256", jwt.encode(claims(), KEYS["RS256"], "PS256", {"kid": kid("RS256")})
    yield "RS256 by a key for PS256", jwt.encode(claims(), KEYS["PS256"], "RS256", {"kid": kid("PS256")})
    yield "RS512 by a key for RS256", jwt.encode(claims(), KEYS["RS256"], "RS512", {"kid": kid("RS256")})


def d03():
    stranger = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(STRANGER.public_key()))
    for name in ["../../etc/passwd", "' OR 1=1 --", "", "py-es256", "py-ES256\0", f"{ISSUER}/jwks"]:
        yield f"kid {name!r}", mint(key=STRANGER, headers={"kid": name})
    yield "a stranger's signature", mint(key=STRANGER)
    yield "the name of another key", mint(headers={"kid": kid("EdDSA")})
    for header in [{"jwk": stranger}, {"jku": f"{ISSUER}/jwks"}, {"x5u": "https://example.com/x"}, {"x5c": ["MIIB"]}]:
        yield f"a stranger's {next(iter(header))}", mint(key=STRANGER, headers=header)
    yield "crit", mint(headers={"crit": ["exp"]})
    yield "b64", by_hand({"alg": "ES256", "kid": kid("ES256"), "b64": False, "crit": ["b64"]}, json.dumps(claims()), es256)


def d04():
    for audience in ["", "other", AUDIENCE.upper(), f"{AUDIENCE} ", ["other"], [], [[AUDIENCE]], {AUDIENCE: 1}, 1, None, ...]:
        yield f"aud {audience!r}", mint(aud=audience)


def d05():
    for kind in ["logout+jwt", "id_token+jwt", "secevent+jwt", "dpop+jwt"]:
        yield f"typ {kind}", mint(headers={"typ": kind})
    for issuer in ["", f"{ISSUER}/", ISSUER.upper(), "https://accounts.example.com", ...]:
        yield f"iss {issuer!r}", mint(iss=issuer)
    yield "an ID token's nonce", mint(nonce="n")
    yield "a logout token's events", mint(events={})


def d06():
    values = ["never", str(NOW + 300), True, None, [], {}, -1, 1.5, NOW + 300.5, 1e300, -1e300, 2**63, 2**64, float("inf"), float("nan")]
    for name in ["exp", "nbf", "iat"]:
        for value in values:
            # What PyJWT does not write is written by hand; Python's JSON has Infinity and NaN.
            payload = json.dumps(claims(**{name: value}))
            yield f"{name} {value!r}", by_hand({"alg": "ES256", "kid": kid("ES256")}, payload, es256)
    yield "no exp", mint(exp=...)
    twice = json.dumps(claims()).replace("{", f'{{"exp": {NOW - 900}, ', 1)
    yield "two exp", by_hand({"alg": "ES256", "kid": kid("ES256")}, twice, es256)


def d07():
    yield "expired", mint(exp=NOW - 31)
    yield "not yet", mint(nbf=NOW + 300)
    yield "made in the future", mint(iat=NOW + 300)


def main() -> None:
    sound = [(algorithm, mint(algorithm)) for algorithm in KEYS]
    sound += [("several audiences", mint(aud=["other", AUDIENCE])), ("no nbf", mint(nbf=...))]
    groups = [d01, d02, d03, d04, d05, d06, d07]
    defective = [(f"{group.__name__}: {name}", token) for group in groups for name, token in group()]
    print(json.dumps({"keys": [jwk(name) for name in KEYS], "sound": sound, "defective": defective}))


main()
