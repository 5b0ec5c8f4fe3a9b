"""A SPIFFE Workload API on a Unix socket: grpcio serves, messages are encoded by hand.

    workload_api.py SOCKET STATE

STATE is a JSON file, read again whenever it changes; every open stream is told then:

    {"spiffe_id": …, "chain": PEM file, "key": PEM file, "bundle": PEM file,
     "federated": {TRUST DOMAIN: PEM file}, "keys": {TRUST DOMAIN: JWKS file}}

Prints `serving`. A caller without the security header is refused, as the specification wants it.
"""

import base64
import json
import os
import re
import sys
import threading
import time
from concurrent import futures

import grpc

PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.S)


def der(path):
    with open(path, encoding="ascii") as file:
        return b"".join(base64.b64decode(body) for _, body in PEM.findall(file.read()))


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def mapped(tag, pairs):
    return b"".join(field(tag, field(1, f"spiffe://{key}") + field(2, value)) for key, value in pairs)


def x509(state):
    svid = field(1, state["spiffe_id"]) + field(2, der(state["chain"]))
    svid += field(3, der(state["key"])) + field(4, der(state["bundle"]))
    return field(1, svid) + mapped(3, ((name, der(path)) for name, path in state.get("federated", {}).items()))


def keys(state):
    return mapped(1, ((name, open(path, "rb").read()) for name, path in state.get("keys", {}).items()))


class State:
    def __init__(self, path):
        self.path, self.version, self.now, self.changed = path, 0, None, threading.Condition()
        self.look()
        threading.Thread(target=self.watch, daemon=True).start()

    def look(self):
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        with self.changed:
            if text != self.now:
                self.now, self.version = text, self.version + 1
                self.changed.notify_all()

    def watch(self):
        while True:
            time.sleep(0.05)
            self.look()

    def follow(self, encode):
        def stream(_request, context):
            if dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
            seen = 0
            while context.is_active():
                with self.changed:
                    self.changed.wait_for(lambda: self.version != seen, timeout=0.2)
                    if self.version == seen:
                        continue
                    seen, text = self.version, self.now
                yield encode(json.loads(text))

        return grpc.unary_stream_rpc_method_handler(stream)


def main():
    socket, path = sys.argv[1:]
    if os.path.exists(socket):
        os.remove(socket)
    state = State(path)
    methods = {"FetchX509SVID": state.follow(x509), "FetchJWTBundles": state.follow(keys)}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", methods),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


main()
