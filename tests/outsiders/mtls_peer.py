"""An HTTPS client with a client certificate, whose one connection stays open.

    mtls_peer.py PORT HOST CA CERTIFICATE KEY

Prints `connected`, then for each path that it reads the status of a GET on that same connection, or
`closed: …` if the connection is no more.
"""

import http.client
import socket
import ssl
import sys


def main():
    port, host, ca, certificate, key = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    plain = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
    connection = http.client.HTTPConnection(host, int(port))
    connection.sock = context.wrap_socket(plain, server_hostname=host)
    connection.auto_open = 0
    print("connected", flush=True)
    for line in sys.stdin:
        try:
            connection.request("GET", line.strip())
            response = connection.getresponse()
            response.read()
            print(response.status, flush=True)
        except (OSError, http.client.HTTPException) as error:
            print(f"closed: {error!r}", flush=True)


main()
