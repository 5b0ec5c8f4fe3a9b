"""The subjects of a comparison: each a context manager that runs one proxy in front of the upstream."""

import contextlib
import datetime
import http.server
import json
import pathlib
import shutil
import socket
import threading
import typing
import urllib.parse

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import measure

HERE = pathlib.Path(__file__).parent
BINARY = HERE.parent / "target/shipped/release/portcullis"
HOST = "bench.example.com"
TOKENS = 64


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running(typing.NamedTuple):
    """A running gate; unpacks into port and pid."""

    port: int
    pid: int
    control: int
    tls: int
    http2: int


STREAM_RULE = """
@id("stream") @reviews("0") @max_duration("1h")
permit (principal is User in Group::"engineering", action == Action::"stream.GET", resource == Service::"stream")
when { context has grant };
"""


HOLD_RULES = """
@id("held") @reviews("1") @max_duration("5m")
permit (principal is Workload, action == Action::"stream.POST", resource == Service::"stream")
when { context has grant };
@id("held.reviewers")
permit (principal is User in Group::"engineering", action == Action::"review", resource is AccessRequest);
"""


WIRE_RULES = """
@id("open")
permit (principal is Anonymous, action in Action::"open.read", resource == Service::"open");
@id("masked")
permit (principal is Workload, action in Action::"masked.read", resource == Service::"masked");
@id("rpc")
permit (principal is Workload, action == Action::"rpc.POST", resource == Service::"rpc");
@id("echo")
permit (principal is Workload, action == Action::"echo.GET", resource == Service::"echo");
"""


class Issuer:
    """A minimal OpenID issuer: discovery, one ES256 key, and the 64 tokens."""

    def __init__(self, folder: pathlib.Path):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        self.jwks = {"keys": [{**jwk, "kid": "bench", "use": "sig", "alg": "ES256"}]}
        self.tokens = folder / "tokens"
        self.groups, self.nonces = ["engineering"], {}
        self.write_tokens()
        (folder / "jwks.json").write_text(json.dumps(self.jwks))
        self._serve()

    def write_tokens(self, teams: int = TOKENS) -> None:
        """Writes 64 tokens of as many services, which belong to the first `teams` teams."""
        self.tokens.write_text("".join(self.mint(n, n % teams) + "\n" for n in range(TOKENS)))

    def mint(self, number: int, team: int) -> str:
        now = datetime.datetime.now(datetime.UTC)
        claims = {"iss": self.url, "aud": "bench", "sub": f"svc-{number}", "groups": [f"team-{team}"],
                  "iat": now, "exp": now + datetime.timedelta(hours=4)}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "bench"})

    def id_token(self, **more: str) -> str:
        """The one person of this provider, who has confirmed already."""
        now = datetime.datetime.now(datetime.UTC)
        claims = {"iss": self.url, "aud": "bench", "sub": "eve", "email": "eve@example.com", "email_verified": True,
                  "groups": self.groups, "iat": now, "exp": now + datetime.timedelta(minutes=5), **more}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "bench"})

    def lead(self, asked: dict) -> str:
        """Where a browser goes on to whom we know already."""
        code = f"code-{len(self.nonces)}"
        self.nonces[code] = {"nonce": asked["nonce"]}
        return asked["redirect_uri"] + "?" + urllib.parse.urlencode({"code": code, "state": asked["state"]})

    def _serve(self) -> None:
        documents = {
            "/.well-known/openid-configuration": {
                "issuer": self.url, "jwks_uri": f"{self.url}/jwks", "token_endpoint": f"{self.url}/token",
                "authorization_endpoint": f"{self.url}/authorize",
                "device_authorization_endpoint": f"{self.url}/device", "response_types_supported": ["code"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]},
            "/jwks": self.jwks,
        }
        answers = {
            "/device": lambda _: {"device_code": "code", "user_code": "CODE", "interval": 1, "expires_in": 600,
                                  "verification_uri": f"{self.url}/device"},
            "/token": lambda asked: {"access_token": "unused", "token_type": "Bearer", "id_token": self.id_token(
                **self.nonces.get(asked.get("code", ""), {}))},
        }
        leads = self.lead

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the base class names it)
                path, _, query = self.path.partition("?")
                if path == "/authorize":
                    self.send_response(303)
                    self.send_header("Location", leads(dict(urllib.parse.parse_qsl(query))))
                    self.end_headers()
                else:
                    self.answer(documents.get(self.path))

            def do_POST(self):  # noqa: N802
                text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                asked = dict(urllib.parse.parse_qsl(text))
                self.answer(answers[self.path](asked) if self.path in answers else None)

            def answer(self, document):
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(document or {}).encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Behind(typing.NamedTuple):
    """The ports of what stands behind every subject; 9 answers nobody."""

    http: int = 9
    rpc: int = 9
    echo: int = 9


@contextlib.contextmanager
def upstream(folder: pathlib.Path):
    """nginx with 1 KiB from memory and 1 MiB from the page cache, on the client's core."""
    port = free_port()
    (folder / "1m").write_bytes(b"x" * (1 << 20))
    conf = filled("upstream.conf", folder, UPSTREAM=port, BODY="x" * 1024)
    with measure.running(["nginx", "-c", str(conf)], measure.CLIENT_CORE, port, folder / "upstream.out"):
        yield Behind(port)


@contextlib.contextmanager
def portcullis(folder: pathlib.Path, behind: Behind, issuer: Issuer, policies: int = 100,
               decision_cache: bool = True, stream_port: int = 9, cores: int = 1, options: tuple[str, ...] = ()):
    """Portcullis with JWT identity, policies, assertion and record; one core."""
    home = folder / "portcullis"
    shutil.rmtree(home, ignore_errors=True)
    (home / "policies").mkdir(parents=True)
    gate, control, tls = free_port(), free_port(), free_port()
    certificate(home)
    text = filled("portcullis.yaml", home, GATE=gate, CONTROL=control, TLS=tls, UPSTREAM=behind.http, RPC=behind.rpc,
                  ECHO=behind.echo, ISSUER=issuer.url, STREAM=stream_port)
    (home / "policies/bench.cedar").write_text("\n".join(policy(n) for n in range(policies)) + STREAM_RULE + HOLD_RULES + WIRE_RULES)
    command = [str(BINARY), "serve", "--config", str(text), "--cores", str(cores), *options]
    if not decision_cache:
        command.append("--no-decision-cache")
    pinned = measure.SERVER_CORE if cores == 1 else measure.BOTH_CORES
    with measure.running(command, pinned, gate, folder / "portcullis.out", PORTCULLIS_LOG="warn") as process:
        measure.wait_for(control, process, folder / "portcullis.out")
        yield Running(gate, process.pid, control, tls, gate)


def certificate(folder: pathlib.Path) -> None:
    """Writes a self-signed certificate for the gate, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    pem = serialization.Encoding.PEM
    (folder / "gate.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "gate.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def policy(number: int) -> str:
    """One standing permit with a head of its own."""
    return (f'@id("bench.{number}")\npermit (principal is Workload in Group::"team-{number}", '
            f'action in Action::"bench.read", resource in Service::"bench");\n')


def filled(name: str, folder: pathlib.Path, **values) -> pathlib.Path:
    """Fills a template of `peers/` and writes it into `folder`."""
    text = (HERE / "peers" / name).read_text()
    for key, value in {"DIR": folder, "HOST": HOST, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    target = folder / name
    target.write_text(text)
    return target
