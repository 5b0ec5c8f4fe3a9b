"""Another system that signs what it decided, by the library of the Standard Webhooks specification.

    webhook_signer.py SECRET ID SHIFT

Reads the body from standard input and signs it as of SHIFT seconds from now. Prints the time and the signature.
"""

import sys
from datetime import datetime, timedelta, timezone

from standardwebhooks import Webhook

SECRET, ID, SHIFT = sys.argv[1:4]
when = datetime.now(tz=timezone.utc) + timedelta(seconds=int(SHIFT))
print(int(when.timestamp()), Webhook(SECRET).sign(ID, when, sys.stdin.read()))
