"""incident.io, as far as its public documents say what it does.

Built from its OpenAPI document 1.0.0 (as incident-io/singer-tap has it, 2025-06-20: tags Incidents V2, Schedules V2,
Users V2, Webhooks) and from api-docs.incident.io/tag/Webhooks ("Verifying webhooks": `webhook-id`,
`webhook-timestamp`, `webhook-signature`; powered by Svix). Messages are signed by the library of the Standard Webhooks
specification, which Svix implements. Checks: the bearer token, the size of a page, filters by category and mode,
the window of schedule entries. Each page has an `after`, and the one behind the last is empty, as its documents
leave it open. Of a private incident a message has the id alone.
"""

import base64
import datetime
import hashlib
import hmac
import sys

from standardwebhooks import Webhook
from vendor import Refused, Vendor, now, serve

TOKEN, SECRET, FIELD = sys.argv[1:4]
OTHER = "whsec_" + base64.b64encode(b"somebody else's, of some length.").decode()
CATEGORIES = ("triage", "declined", "merged", "canceled", "live", "learning", "closed", "paused")


def micros(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class IncidentIo(Vendor):
    def __init__(self):
        super().__init__()
        self.incidents, self.shifts, self.users = {}, {}, {}

    def user(self, id, email):
        self.users[id] = email

    def shift(self, schedule, users, ends_in=86400.0):
        self.shifts[schedule] = [(user, micros(now(ends_in))) for user in users]

    def declare(self, number, service, users=(), category="live", mode="standard", private=False, **how):
        self.incidents[number] = {
            "id": f"01FDAG4SAP5TYPT98WGR{number:06d}",
            "reference": f"INC-{number}",
            "service": service,
            "assigned": list(users),
            "mode": mode,
            "private": private,
            "name": "Our database is sad",
        }
        kind = "incident_created_v2"
        return self.become(number, category, kind, **how)

    def status(self, number, category, **how):
        return self.become(number, category, "incident_status_updated_v2", **how)

    def assign(self, number, users, **how):
        self.incidents[number]["assigned"] = list(users)
        return self.become(number, self.incidents[number]["category"], "incident_updated_v2", **how)

    def become(self, number, category, kind, hook=True, offset=0.0):
        assert category in CATEGORIES
        it = self.incidents[number]
        it["category"], it["updated"] = category, now(offset)
        name = ("private_incident." if it["private"] else "public_incident.") + kind
        shown = self.shown(it)
        if it["private"]:
            said = {"id": it["id"]}
        elif "status" in kind:
            status = shown["incident_status"]
            said = {"incident": shown, "new_status": status, "previous_status": status}
        else:
            said = shown
        number = len(self.events)
        return self.message(f"msg_{number}", {"event_type": name, name: said}, hook)

    def other(self, kind):
        return self.message(f"msg_{len(self.events)}", {"event_type": kind, kind: {}}, True)

    def person(self, user):
        email = self.users[user]
        return {"id": user, "email": email, "name": "Somebody", "role": "viewer", "slack_user_id": "U02AYNF2XJM"}

    def shown(self, it):
        option = {"custom_field_id": FIELD, "id": it["service"], "sort_key": 10, "value": "Payments"}
        roles = [
            {"role": {"id": "01FCNDV6P870EA6S7TK1DSYDG0", "name": "Incident Lead"}, "assignee": self.person(user)}
            for user in it["assigned"]
        ]
        entries = [
            {"custom_field": {"id": "01OTHER", "name": "Notes"}, "values": [{"value_text": "payments"}]},
            {"custom_field": {"id": FIELD, "name": "Affected"}, "values": [{"value_option": option}]},
        ]
        return {
            "id": it["id"],
            "reference": it["reference"],
            "name": it["name"],
            "mode": it["mode"],
            "visibility": "private" if it["private"] else "public",
            "created_at": micros(now(-3600)),
            "updated_at": micros(it["updated"]),
            "incident_status": {"id": "01FCNDV6P870EA6S7TK1DSYD5H", "name": "Fixing", "category": it["category"]},
            "severity": {"id": "01FCNDV6P870EA6S7TK1DSYDG0", "name": "Major", "rank": 2},
            "custom_field_entries": entries,
            "incident_role_assignments": roles,
        }

    def signed(self, message_id, body, sign, sent=0):
        at = now(sent)
        text = body.decode()
        code = Webhook(OTHER if sign == "wrong" else SECRET).sign(message_id, at, text)
        if sign == "rotating":
            code = Webhook(OTHER).sign(message_id, at, text) + " " + code
        headers = {"webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp()))}
        if sign != "none":
            headers["webhook-signature"] = code
        return headers

    # What callers are answered.

    def answer(self, method, path, query, headers, body):
        if headers.get("authorization") != f"Bearer {TOKEN}":
            self.fault(401, "a call without the token")
        match method, path:
            case "GET", ["v2", "incidents"]:
                return 200, self.list(query)
            case "GET", ["v2", "incidents", key]:
                for it in self.incidents.values():
                    if key in (it["id"], it["reference"].split("-")[1]):
                        return 200, {"incident": self.shown(it)}
            case "GET", ["v2", "schedule_entries"]:
                return 200, self.entries(query)
            case "GET", ["v2", "users", user] if user in self.users:
                return 200, {"user": self.person(user)}
        raise Refused(404, {"type": "not_found", "status": 404})

    def list(self, query):
        size = int(query.get("page_size", ["25"])[0])
        if not 1 <= size <= 250:
            self.fault(422, "a page of more than 250")
        categories = query.get("status_category[one_of]", list(CATEGORIES))
        modes = query.get("mode[one_of]", ["standard", "retrospective"])
        if set(categories) - set(CATEGORIES):
            self.fault(422, "a category that there is not")
        all = [it for it in self.incidents.values() if it["category"] in categories and it["mode"] in modes]
        after = query.get("after", [None])[0]
        begin = 0
        if after is not None:
            begin = [it["id"] for it in all].index(after) + 1
        # A small account: pages are as small as they may be.
        page = all[begin : begin + 2]
        meta = {"page_size": size, "total_record_count": len(all)}
        if page:
            meta["after"] = page[-1]["id"]
        return {"incidents": [self.shown(it) for it in page], "pagination_meta": meta}

    def entries(self, query):
        for name in ("schedule_id", "entry_window_start", "entry_window_end"):
            if len(query.get(name, [])) != 1:
                self.fault(422, f"schedule entries without {name}")
        for name in ("entry_window_start", "entry_window_end"):
            datetime.datetime.fromisoformat(query[name][0].replace("Z", "+00:00"))
        shifts = self.shifts.get(query["schedule_id"][0], [])
        final = [
            {"start_at": micros(now(-3600)), "end_at": end, "fingerprint": user, "user": self.person(user)}
            for user, end in shifts
        ]
        # What the rotation would have been, before an override.
        scheduled = [{**one, "user": {"id": "01SOMEBODYELSE", "email": "ben@example.com"}} for one in final]
        return {"schedule_entries": {"final": final, "overrides": final, "scheduled": scheduled}}


# The library signs as the specification says: held against it once, by hand.
_raw = base64.b64decode(SECRET.removeprefix("whsec_"))
_code = hmac.new(_raw, b"a.1700000000.{}", hashlib.sha256).digest()
_at = datetime.datetime.fromtimestamp(1700000000, datetime.timezone.utc)
assert Webhook(SECRET).sign("a", _at, "{}") == "v1," + base64.b64encode(_code).decode()
serve(IncidentIo())
