"""Authenticators in software, with browsers around them, and an auditor: by Yubico's `fido2`.

Reads one JSON command a line and prints `answer` and one JSON answer for each:

    {"do": "create", "key": NAME, "options": {...}, ...}   RegistrationResponseJSON for a new credential
    {"do": "get", "key": NAME, "options": {...}, ...}      AuthenticationResponseJSON by that credential
    {"do": "audit", "proof": {...}}                        checks what the record keeps of a signed review

Lies to tell, for `create` and `get`: `origin`, `rp`, `challenge`, `uv` (false: nobody verified), `counter`,
`algorithm` (a name of `fido2.cose`), `credential` (the id under which to answer, in base64url).
"""

import hashlib
import json
import os
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
)

FLAG = AuthenticatorData.FLAG
KEYS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}
SIGN = {
    "ES256": lambda key, message: key.sign(message, ec.ECDSA(hashes.SHA256())),
    "ES384": lambda key, message: key.sign(message, ec.ECDSA(hashes.SHA384())),
    "EdDSA": lambda key, message: key.sign(message),
    "RS256": lambda key, message: key.sign(message, padding.PKCS1v15(), hashes.SHA256()),
}
credentials = {}


class Credential:
    def __init__(self, algorithm: str):
        self.algorithm = algorithm
        self.key = KEYS[algorithm]()
        self.id = os.urandom(32)
        self.counter = 0


def data(command: dict, rp: str, counter: int, more: FLAG = FLAG(0), credential: bytes = b"") -> AuthenticatorData:
    flags = FLAG.UP | more
    if command.get("uv", True):
        flags |= FLAG.UV
    rp = command.get("rp", rp)
    return AuthenticatorData.create(hashlib.sha256(rp.encode()).digest(), flags, counter, credential)


def client_data(command: dict, kind: str) -> CollectedClientData:
    challenge = command.get("challenge", command["options"]["challenge"])
    return CollectedClientData.create(kind, challenge, command["origin"])


def create(command: dict) -> dict:
    options = command["options"]
    algorithm = command.get("algorithm", "ES256")
    made = credentials[command["key"]] = Credential(algorithm)
    public_key = CoseKey.for_name(algorithm).from_cryptography_key(made.key.public_key())
    credential = AttestedCredentialData.create(bytes(16), made.id, public_key)
    authenticator_data = data(command, options["rp"]["id"], 0, FLAG.AT, credential)
    response = {
        "clientDataJSON": websafe_encode(client_data(command, "webauthn.create")),
        "attestationObject": websafe_encode(AttestationObject.create("none", authenticator_data, {})),
        "transports": ["internal"],
    }
    return answer(made.id, response)


def get(command: dict) -> dict:
    options = command["options"]
    used = credentials[command["key"]]
    used.counter = command.get("counter", used.counter + 1)
    said = client_data(command, "webauthn.get")
    authenticator_data = data(command, options["rpId"], used.counter)
    signature = SIGN[used.algorithm](used.key, authenticator_data + said.hash)
    name = websafe_decode(command["credential"]) if "credential" in command else used.id
    response = {
        "clientDataJSON": websafe_encode(said),
        "authenticatorData": websafe_encode(authenticator_data),
        "signature": websafe_encode(signature),
    }
    return answer(name, response)


def answer(name: bytes, response: dict) -> dict:
    name = websafe_encode(name)
    return {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}


def audit(command: dict) -> dict:
    """What the record promises: challenge = SHA-256(domain, nonce, statement), signed by this key."""
    proof = command["proof"]
    digest = hashlib.sha256(b"portcullis review by passkey\0")
    digest.update(websafe_decode(proof["nonce"]))
    digest.update(proof["statement"].encode())
    public_key = CoseKey.parse(cbor.decode(websafe_decode(proof["public_key"])))
    credential = AttestedCredentialData.create(bytes(16), websafe_decode(proof["credential"]), public_key)
    server = Fido2Server(
        PublicKeyCredentialRpEntity(id=proof["relying_party"], name="auditor"),
        verify_origin=lambda origin: origin == proof["origin"],
    )
    state = {"challenge": websafe_encode(digest.digest()), "user_verification": "required"}
    response = {
        "id": proof["credential"],
        "rawId": proof["credential"],
        "type": "public-key",
        "response": {
            "clientDataJSON": proof["client_data"],
            "authenticatorData": proof["authenticator_data"],
            "signature": proof["signature"],
        },
        "clientExtensionResults": {},
    }
    server.authenticate_complete(state, [credential], response)
    return {"statement": json.loads(proof["statement"])}


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            said = {"create": create, "get": get, "audit": audit}[command["do"]](command)
        except ValueError as error:
            said = {"error": str(error)}
        print("answer " + json.dumps(said), flush=True)


main()
