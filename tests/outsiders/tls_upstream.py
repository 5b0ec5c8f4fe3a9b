"""An HTTPS service that says who asked.

    tls_upstream.py CERTIFICATE KEY [CLIENT_CA]

Prints its port. Answers every request with the SPIFFE ID of the client's certificate, or `nobody`; with
CLIENT_CA, a certificate is required. Prints `METHOD PATH WHO` for each request and `connected` for each
connection whose handshake succeeded. Reads its own certificate anew for each connection.
"""

import http.server
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        certificate, key, *ca = sys.argv[1:]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["http/1.1"])
        if ca:
            context.load_verify_locations(ca[0])
            context.verify_mode = ssl.CERT_REQUIRED
        self.request = context.wrap_socket(self.request, server_side=True)
        print("connected", flush=True)
        super().setup()

    def do_GET(self):
        names = (self.request.getpeercert() or {}).get("subjectAltName", ())
        who = next((value for kind, value in names if kind == "URI"), "nobody")
        print("GET", self.path, who, flush=True)
        body = who.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        print("failed", flush=True)


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
