"""A mail server, by aiosmtpd 1.4.6: submission by RFC 6409 (November 2011) over TLS from the first byte or by STARTTLS,
which is demanded, as RFC 8314 (January 2018) has it; replies and their classes by RFC 5321 (October 2008).

    smtp_double.py implicit|starttls PORT CERTIFICATE KEY USER PASSWORD

It takes mails after TLS and AUTH (RFC 4954, July 2007) alone, and reads each by Python's own parser of RFC 5322 (October
2008) and MIME, which says what is wrong with its form. Prints its
port (PORT 0: one that is free), then a JSON object for each mail. Lines on standard input change what it does:
`answer 451` (greylisted), `answer 550` (no such mailbox), `answer 250`.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

KIND, PORT, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:7]
STATE = {"answer": 250}


def authenticator(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known)


class Mailbox:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if STATE["answer"] == 550:
            tell(answer=550, to=[address])
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
        part = lambda kind: mail.get_body((kind,)).get_content()
        tell(
            answer=STATE["answer"],
            tls=session.ssl is not None or KIND == "implicit",
            authenticated=session.authenticated,
            to=envelope.rcpt_tos,
            headers={name.lower(): str(value) for name, value in mail.items()},
            names=[name.lower() for name in mail.keys()],
            defects=[str(defect) for defect in mail.defects],
            text=part("plain"),
            html=part("html"),
        )
        return "250 taken" if STATE["answer"] == 250 else f"{STATE['answer']} 4.7.1 later"


def tell(**what):
    print("got " + json.dumps(what), flush=True)


async def listen(loop):
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        text = line.decode().strip()
        STATE["answer"] = int(text.removeprefix("answer "))
        print("now " + text, flush=True)


async def main():
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    implicit = KIND == "implicit"

    def session():
        return SMTP(
            Mailbox(),
            hostname="mail.example.com",
            tls_context=None if implicit else context,
            require_starttls=not implicit,
            authenticator=authenticator,
            auth_required=True,
            # Under implicit TLS the library does not see the TLS that it is in.
            auth_require_tls=not implicit,
            loop=loop,
        )

    server = await loop.create_server(session, "127.0.0.1", int(PORT), ssl=context if implicit else None)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await listen(loop)


asyncio.run(main())
