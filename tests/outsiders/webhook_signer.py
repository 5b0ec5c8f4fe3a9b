"""Another system that signs what it decided, by the library of the Standard Webhooks specification.

Standard Webhooks 1.0.0 (standard-webhooks/standard-webhooks, spec/standard-webhooks.md, commit b2fa7b8, 2026-08-17), symmetric
signatures: `v1`, HMAC-SHA256 over `id.timestamp.body` by the bytes that `whsec_` spells in Base64. The library is
standardwebhooks 1.1.0 for Python, of the same repository.

    webhook_signer.py SECRET ID SHIFT

Reads the body from standard input and signs it as of SHIFT seconds from now. Prints the time and the signature.
"""

import sys
from datetime import datetime, timedelta, timezone

from standardwebhooks import Webhook

SECRET, ID, SHIFT = sys.argv[1:4]
when = datetime.now(tz=timezone.utc) + timedelta(seconds=int(SHIFT))
print(int(when.timestamp()), Webhook(SECRET).sign(ID, when, sys.stdin.read()))
