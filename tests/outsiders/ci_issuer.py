"""CI systems' OpenID issuers, and their tokens as PyJWT mints them.

    ci_issuer.py PORT

A double of GitHub's token endpoint, built from "OpenID Connect reference", *Methods for requesting the OIDC token*
(github/docs, content/actions/reference/security/oidc.md at 051718f297e1), and from what GitHub's own client sends
(actions/toolkit at 4b9afa4c of 8 June 2026, packages/core/src/oidc-utils.ts). It checks what they say:

- a GET at ACTIONS_ID_TOKEN_REQUEST_URL as it was given, with `&audience=` behind it: the query that is in it stays,
  and an audience that comes twice, or empty, is refused (400);
- `Authorization: bearer` with ACTIONS_ID_TOKEN_REQUEST_TOKEN: 401 for another one;
- without an audience a token is for the URL of the repository's owner;
- an answer is {"value": …}, and a token's `jti` is never the same twice.

POST /actions registers a job, {"bearer": …, "claims": {…}, "fail": N}, whose first N questions are answered by 503
(the toolkit asks again after 502, 503 and 504).

The other systems have no endpoint that `portcullis run` asks: GitLab puts the token into the job's environment,
Buildkite and CircleCI have a program that prints it (`buildkite-agent oidc request-token --audience A`,
buildkite/docs at 35cf0294c of 21 August 2026; `circleci run oidc get --claims '{"aud": "A"}'`,
circleci/circleci-docs at 9734a1410c of 20 August 2026), Kubernetes puts it into a file. What each says in its tokens
is in the tests' yard.rs, with the document that says so.

Serves one issuer for each path (/github, /gitlab, /buildkite, /circleci), all with one RSA key (RS256, as all of
them sign), and mints whatever is asked for at POST /mint: {"claims": {…}, "header": {…},
"alg": "RS256"|"HS256"|"none", "key": "own"|"stranger"}.
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
        audience = query.pop("audience", ["https://github.com/" + job["claims"]["repository_owner"]])
        if query != {"api-version": ["2.0"]} or len(audience) != 1 or not audience[0]:
            return self.answer({"message": "not as it was given"}, 400)
        if job["fail"] > 0:
            job["fail"] -= 1
            return self.answer({"message": "later"}, 503)
        claims = {**job["claims"], "aud": audience[0], "jti": uuid.uuid4().hex}
        return self.answer({"count": 1, "value": mint({"claims": claims})})

    def do_GET(self):
        asked = urllib.parse.urlsplit(self.path)
        if asked.path == "/actions/idtoken":
            return self.id_token(urllib.parse.parse_qs(asked.query, keep_blank_values=True))
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
