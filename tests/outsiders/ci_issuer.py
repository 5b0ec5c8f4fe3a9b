"""CI systems' OpenID issuers, and their tokens as PyJWT mints them.

    ci_issuer.py PORT

It is also a double of GitHub's token endpoint, as "OpenID Connect reference" has it ("Methods for requesting the
OIDC token"): what POST /actions registers, {"bearer": …, "claims": {…}, "fail": N}, is answered at
GET /actions/idtoken?api-version=2.0&audience=… for whoever presents the bearer, as {"value": …}, after N
answers of 503. Without an audience a token is for the owner's URL; another bearer gets 401.

Serves one issuer for each path (/github, /gitlab, /buildkite), all with one RSA key, and mints
whatever is asked for at POST /mint: {"claims": {…}, "header": {…}, "alg": "RS256"|"HS256"|"none",
"key": "own"|"stranger"}.
"""

import base64
import json
import sys
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("own", "stranger")}
PUBLIC = KEYS["own"].public_key()


def key_set():
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(PUBLIC))
    return {"keys": [{**jwk, "kid": "ci-1", "use": "sig", "alg": "RS256"}]}


def mint(wanted):
    algorithm = wanted.get("alg", "RS256")
    if algorithm == "RS256":
        key = KEYS[wanted.get("key", "own")]
    elif algorithm == "none":
        key = None
    else:
        # D02: the public key as if it were a shared secret. PyJWT refuses the PEM and the DER, so it
        # gets what is between the lines of the PEM.
        key = base64.b64encode(
            PUBLIC.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    header = {"kid": "ci-1", **wanted.get("header", {})}
    # Claims are minted as they are, whatever PyJWT would say of their types.
    return jwt.PyJWS().encode(json.dumps(wanted["claims"]).encode(), key, algorithm, headers=header)


JOBS = {}


class Issuer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200):
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def id_token(self, query):
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        job = JOBS.get(bearer)
        if scheme.lower() != "bearer" or job is None:
            return self.answer({"message": "unauthorized"}, 401)
        if query.get("api-version") != ["2.0"] or "api-version=2.0" not in self.headers.get("Accept", ""):
            return self.answer({"message": "no such version"}, 400)
        if job["fail"] > 0:
            job["fail"] -= 1
            return self.answer({"message": "later"}, 503)
        audience = query.get("audience", ["https://github.com/" + job["claims"]["repository_owner"]])
        claims = {**job["claims"], "aud": audience[0], "jti": uuid.uuid4().hex}
        return self.answer({"count": 1, "value": mint({"claims": claims})})

    def do_GET(self):
        asked = urllib.parse.urlsplit(self.path)
        if asked.path == "/actions/idtoken":
            return self.id_token(urllib.parse.parse_qs(asked.query))
        system = self.path.split("/")[1]
        base = f"http://{self.headers['Host']}"
        if self.path.endswith("/.well-known/openid-configuration"):
            self.answer({
                "issuer": f"{base}/{system}",
                "jwks_uri": f"{base}/{system}/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })
        else:
            self.answer(key_set())

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/actions":
            JOBS[wanted["bearer"]] = wanted
            return self.answer({})
        self.answer(mint(wanted))

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Issuer).serve_forever()
