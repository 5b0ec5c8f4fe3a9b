"""The peers: each a context manager that runs one plain proxy, or Envoy with identity and policy, in front of the upstreams."""

import contextlib
import json
import pathlib
import sys
import time
import typing
import urllib.error
import urllib.request

from . import measure, subjects

BIN = pathlib.Path(sys.prefix) / "bin"


class Peer(typing.NamedTuple):
    """A running peer: its ports in clear text, for HTTP/2 with prior knowledge, and for TLS. Unpacks into port and pid first."""

    port: int
    pid: int
    http2: int
    tls: int


@contextlib.contextmanager
def started(folder: pathlib.Path, behind, templates: tuple[str, ...], command, http2_port: bool = False, workers: int = 1):
    """Fills the templates with ports and runs the command that `command` makes of the first."""
    port, tls = subjects.free_port(), subjects.free_port()
    http2 = subjects.free_port() if http2_port else port
    subjects.certificate(folder)
    (folder / "gate.pem").write_text((folder / "gate.crt").read_text() + (folder / "gate.key").read_text())
    first, *_ = [subjects.filled(name, folder, PORT=port, TLS=tls, HTTP2=http2, WORKERS=workers, UPSTREAM=behind.http,
                                 RPC=behind.rpc, ECHO=behind.echo) for name in templates]
    core = measure.SERVER_CORE if workers == 1 else measure.BOTH_CORES
    name = pathlib.Path(templates[0]).stem
    environment = {"GOMAXPROCS": str(workers)}
    with measure.running(command(first), core, port, folder / f"{name}.out", **environment) as process:
        ready(port)
        yield Peer(port, process.pid, http2, tls)


def ready(port: int) -> None:
    """Waits until it routes: some listen before they know where to."""
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/1k", timeout=5).close()
            return
        except urllib.error.URLError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"port {port}: {error}") from error
            time.sleep(0.05)


def nginx(folder, behind, _issuer=None, workers: int = 1):
    """nginx, plain, with a JSON log."""
    return started(folder, behind, ("nginx.conf",), lambda conf: ["nginx", "-c", str(conf)], http2_port=True, workers=workers)


def haproxy(folder, behind, _issuer=None):
    """HAProxy, plain, with a JSON log; one thread."""
    return started(folder, behind, ("haproxy.cfg",), lambda conf: ["haproxy", "-f", str(conf)])


def traefik(folder, behind, _issuer=None):
    """Traefik, plain, with a JSON log; one processor."""
    return started(folder, behind, ("traefik.yaml", "traefik-routes.yaml"),
                   lambda conf: [str(BIN / "traefik"), f"--configFile={conf}"])


def caddy(folder, behind, _issuer=None):
    """Caddy, plain, with a JSON log; one processor."""
    return started(folder, behind, ("Caddyfile",),
                   lambda conf: [str(BIN / "caddy"), "run", "--adapter", "caddyfile", "--config", str(conf)])


@contextlib.contextmanager
def envoy(folder: pathlib.Path, behind, issuer, policies: int | None = 100):
    """Envoy with a JSON log and one worker: with `jwt_authn` (token cache on) and RBAC, or plain where `policies` is `None`."""
    port, tls = subjects.free_port(), subjects.free_port()
    subjects.certificate(folder)
    conf = folder / "envoy.json"
    conf.write_text(json.dumps(envoy_config(folder, (port, tls), behind, issuer, policies)))
    binary = next(pathlib.Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"))
    command = [str(binary), "-c", str(conf), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    with measure.running(command, measure.SERVER_CORE, port, folder / "envoy.out") as process:
        yield Peer(port, process.pid, port, tls)


def envoy_plain(folder, behind, issuer):
    """Envoy as a plain reverse proxy with a JSON log."""
    return envoy(folder, behind, issuer, policies=None)


def envoy_config(folder, ports, behind, issuer, policies) -> dict:
    """Envoy's configuration, as JSON."""
    kind = "type.googleapis.com/envoy.extensions.filters"
    filters = [] if policies is None else identity_and_policy(folder, issuer, policies, kind)
    router = {"@type": f"{kind}.http.router.v3.Router"}
    log = {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
           "path": str(folder / "envoy-access.log"), "log_format": {"json_format": {
               "time": "%START_TIME%", "request": "%REQ(X-REQUEST-ID)%", "source": "%DOWNSTREAM_REMOTE_ADDRESS%",
               "principal": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%",
               "method": "%REQ(:METHOD)%", "host": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%",
               "status": "%RESPONSE_CODE%", "latency": "%DURATION%"}}}
    route = lambda prefix, cluster: {"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "60s"}}  # noqa: E731
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "access_log": [{"name": "file", "typed_config": log}],
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": router}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            route("/bench.Bench/", "rpc"), route("/echo", "echo"), route("/", "service")]}]},
    }
    address = lambda p: {"socket_address": {"address": "127.0.0.1", "port_value": p}}  # noqa: E731
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    transport = {"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": str(folder / "gate.crt")},
                                                     "private_key": {"filename": str(folder / "gate.key")}}]}}}
    limits = {"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}

    def cluster(name, port, **more):
        return {"name": name, "type": "STATIC", "circuit_breakers": {"thresholds": [limits]}, "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}, **more}

    http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}}
    return {"static_resources": {
        "listeners": [{"address": address(ports[0]), "filter_chains": [chain]},
                      {"address": address(ports[1]), "filter_chains": [{**chain, "transport_socket": transport}]}],
        "clusters": [cluster("service", behind.http), cluster("echo", behind.echo),
                     cluster("rpc", behind.rpc, typed_extension_protocol_options=http2)],
    }}


def identity_and_policy(folder, issuer, policies: int, kind: str) -> list[dict]:
    """The filters that know who asks, and what they may do."""
    jwt_authn = {
        "@type": f"{kind}.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"bench": {
            "issuer": issuer.url, "audiences": ["bench"], "payload_in_metadata": "payload",
            "local_jwks": {"filename": str(folder / "jwks.json")},
            "jwt_cache_config": {"jwt_cache_size": 1000},
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
    }
    rbac = {"@type": f"{kind}.http.rbac.v3.RBAC", "rules": {"action": "ALLOW", "policies": {
        f"bench.{n}": {
            "permissions": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}],
            "principals": [{"metadata": {
                "filter": "envoy.filters.http.jwt_authn",
                "path": [{"key": "payload"}, {"key": "groups"}],
                "value": {"list_match": {"one_of": {"string_match": {"exact": f"team-{n}"}}}},
            }}],
        } for n in range(policies)
    }}}
    return [{"name": "envoy.filters.http.jwt_authn", "typed_config": jwt_authn},
            {"name": "envoy.filters.http.rbac", "typed_config": rbac}]
