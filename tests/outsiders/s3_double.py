"""An S3-compatible store of one bucket, which checks every signature (AWS Signature Version 4).

    s3_double.py FOLDER BUCKET ACCESS_KEY SECRET_KEY REGION

Prints its port, and keeps the objects as files in FOLDER. While FOLDER/.down is there it answers 503. What
was not signed as it must be gets 403 and a line on standard error.
"""

import hashlib
import hmac
import http.server
import pathlib
import sys
import threading
import urllib.parse

FOLDER, BUCKET, ACCESS, SECRET, REGION = sys.argv[1:]
FOLDER = pathlib.Path(FOLDER)
# Conditions hold while something is written.
ONE = threading.Lock()


def derived(*parts):
    key = ("AWS4" + SECRET).encode()
    for part in parts:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def trouble(self, body):
        """What is wrong with the signature, if anything is."""
        scheme, _, rest = self.headers.get("authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            return "no signature"
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        access, date, region, service, end = fields["Credential"].split("/")
        if (access, region, service, end) != (ACCESS, REGION, "s3", "aws4_request"):
            return f"credential {fields['Credential']}"
        digest = self.headers["x-amz-content-sha256"]
        if digest != hashlib.sha256(body).hexdigest():
            return "the digest is not that of the body"
        names = fields["SignedHeaders"].split(";")
        if not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(names):
            return f"signed headers {names}"
        path, _, query = self.path.partition("?")
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        quoted = [urllib.parse.quote(k, "-_.~") + "=" + urllib.parse.quote(v, "-_.~") for k, v in pairs]
        headers = "".join(f"{name}:{' '.join(self.headers[name].split())}\n" for name in names)
        request = "\n".join([self.command, path, "&".join(quoted), headers, ";".join(names), digest])
        scope = f"{date}/{region}/s3/aws4_request"
        moment = self.headers["x-amz-date"]
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        expected = hmac.new(derived(date, region, "s3", "aws4_request"), text.encode(), hashlib.sha256)
        return None if hmac.compare_digest(expected.hexdigest(), fields["Signature"]) else "the signature is wrong"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"' + hashlib.sha256(body).hexdigest() + '"')
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if (FOLDER / ".down").exists():
            return self.answer(503)
        trouble = self.trouble(body)
        if trouble:
            print(trouble, self.command, self.path, file=sys.stderr, flush=True)
            # As S3 does, with what one should not show around.
            known = f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId><StringToSign>{self.path}</StringToSign>"
            return self.answer(403, f"<Error><Code>SignatureDoesNotMatch</Code>{known}</Error>".encode())
        parts = urllib.parse.unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[0] != BUCKET or any(part in ("", ".", "..") for part in parts):
            return self.answer(404)
        file = FOLDER.joinpath(*parts[1:])
        if self.command == "PUT":
            file.parent.mkdir(parents=True, exist_ok=True)
            with ONE:
                if self.headers.get("if-none-match") == "*" and file.exists():
                    return self.answer(412)
                scratch = file.with_name(file.name + ".part")
                scratch.write_bytes(body)
                scratch.rename(file)
            return self.answer(200)
        if self.command == "DELETE":
            file.unlink(missing_ok=True)
            return self.answer(204)
        return self.answer(200, file.read_bytes()) if file.is_file() else self.answer(404)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = handle_any

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
