"""A TLS client that speaks no HTTP, with a client certificate or without.

    tls_peer.py PORT SERVER_NAME CA [CERTIFICATE KEY]

Prints what comes, each piece on a line, and `closed` at an end in good order or `broken` at any other. Sends each
line that it reads. An empty server name is not sent; with `raw:` before it, it is sent as it is, whatever its bytes.
"""

import socket
import ssl
import sys
import threading


def main():
    port, name, ca, *pair = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    if pair:
        context.load_cert_chain(*pair)
    # The names are the test's own business.
    context.check_hostname = False
    name = name or None
    placeholder = None
    if name and name.startswith("raw:"):
        placeholder, name = name[4:].encode(), "p" * len(name[4:].encode())
    plain = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
    try:
        stream = raw(context, plain, name, placeholder) if placeholder else context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
        threading.Thread(target=send, args=(stream,), daemon=True).start()
        while piece := stream.recv(65536):
            print(piece.decode(), flush=True)
        print("closed", flush=True)
    except OSError as error:
        print("broken", flush=True)
        print(repr(error), file=sys.stderr)


def send(stream):
    for line in sys.stdin:
        try:
            stream.sendall(line.rstrip("\n").encode())
        except OSError:
            return


def raw(context, plain, name, bytes_of_name):
    """Shakes hands with other bytes as server name: only the first message is ours, so the handshake must fail."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    plain.sendall(outgoing.read().replace(name.encode(), bytes_of_name))
    while plain.recv(65536):
        pass
    raise OSError("the handshake is not ours")


main()
