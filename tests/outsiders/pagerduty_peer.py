"""PagerDuty, as far as its public documents say what it does.

Built from
- github.com/PagerDuty/developer-docs at 94224391, of 2026-08-19: docs/webhooks/01-Overview, 02-Behavior,
  04-Signatures; docs/REST-API/02-Authentication, 04-Rate-Limits, 09-Pagination; docs/events-API-v2/05-Rate-Limits;
- github.com/PagerDuty/api-schema at 91a06fb3, of 2026-08-14: reference/REST/openapiv3.json 2.0.0 and
  reference/events-v2/openapiv3.json 2.0.

Checks of who calls: the token, `Accept` with the version and `Content-Type`, which the document requires of each call,
also of a GET; `limit` up to 100 and `offset` + `limit` up to 10,000; `date_range=all`; `From` and the content of a note,
and no more than 2,000 on an incident; the routing key and the required members of an event. Checks of who takes
messages: a 2xx within 5 seconds, and none refused that is signed, since it stops sending after three.

A message is signed with each secret that a subscription has, over the body alone. Those of one incident come in order
and at least once: tests order others. Times of the REST API have whole seconds, those of messages milliseconds, as in
its examples. A note is told like any other change (`incident.annotated`). A limited call is answered `ratelimit-
reset` and no `Retry-After`. Of the Events API's limit it says the status alone; here it brings `Retry-After`, as RFC
9110 has it. With which status a note too many is refused it does not say; here it is 400.
"""

import hashlib
import hmac
import sys
import time
import uuid

from vendor import Refused, Vendor, millis, now, seconds, serve

TOKEN, SECRET, OLD_SECRET, ROUTING_KEY = sys.argv[1:5]


def reference(kind, name, summary="Somebody"):
    return {
        "id": name,
        "type": f"{kind}_reference",
        "summary": summary,
        "self": f"https://api.pagerduty.com/{kind}s/{name}",
        "html_url": f"https://acme.pagerduty.com/{kind}s/{name}",
    }


class PagerDuty(Vendor):
    PATIENCE = 5.0

    def __init__(self):
        super().__init__()
        self.incidents, self.shifts, self.notes, self.pages = {}, {}, [], []
        self.users, self.broken, self.most_notes, self.limited_pages = {}, set(), {}, 0
        self.pages_limited_at, self.refused_notes = None, {}

    # What tests order.

    def user(self, id, email):
        self.users[id] = email

    def break_user(self, id, broken=True):
        """What is asked about this user is answered 500."""
        (self.broken.add if broken else self.broken.discard)(id)

    def notes_at_most(self, number, notes):
        self.most_notes[number] = notes

    def refuse_notes(self, number, status):
        """Notes on this incident are answered so; with no status, they are taken."""
        self.refused_notes[number] = status

    def limit_pages(self, calls):
        self.limited_pages = calls

    def shift(self, schedule, users, ends_in=86400.0):
        self.shifts[schedule] = [(user, seconds(now(ends_in))) for user in users]

    def trigger(self, number, service, users=(), title="refunds are stuck", priority="P1", **how):
        self.incidents[number] = {
            "id": f"Q{number}X",
            "number": number,
            "title": title,
            "service": service,
            "assigned": list(users),
            "joined": [],
            "priority": priority,
            "created": now(how.get("offset", 0.0)),
        }
        return self.become(number, "incident.triggered", "triggered", **how)

    def resolve(self, number, **how):
        return self.become(number, "incident.resolved", "resolved", **how)

    def reopen(self, number, **how):
        return self.become(number, "incident.reopened", "triggered", **how)

    def acknowledge(self, number, **how):
        return self.become(number, "incident.acknowledged", "acknowledged", **how)

    def reassign(self, number, users, **how):
        self.incidents[number]["assigned"] = list(users)
        return self.become(number, "incident.reassigned", self.incidents[number]["status"], **how)

    def move(self, number, service, **how):
        self.incidents[number]["service"] = service
        return self.become(number, "incident.service_updated", self.incidents[number]["status"], **how)

    def join(self, number, user):
        it = self.incidents[number]
        it["joined"].append(user)
        it["updated"] = now()
        data = {"type": "incident_responder", "state": "joined", "user": reference("user", user)}
        data["incident"] = reference("incident", it["id"])
        return self.event("incident.responder.replied", data, now(), True)

    def become(self, number, kind, status, hook=True, offset=0.0):
        it = self.incidents[number]
        at = now(offset)
        it["status"], it["updated"] = status, at
        data = {
            "id": it["id"],
            "type": "incident",
            "self": f"https://api.pagerduty.com/incidents/{it['id']}",
            "html_url": f"https://acme.pagerduty.com/incidents/{it['id']}",
            "number": number,
            "status": status,
            "incident_key": "d3640fbd41094207a1c11e58e46b1662",
            "created_at": seconds(it["created"]),
            "title": it["title"],
            "service": reference("service", it["service"], "Payments"),
            "assignees": [reference("user", user) for user in it["assigned"]],
            "escalation_policy": reference("escalation_policy", "PUS0KTE"),
            "teams": [],
            "priority": reference("priority", "PSO75BM", it["priority"]),
            "urgency": "high",
            "conference_bridge": None,
            "resolve_reason": None,
        }
        return self.event(kind, data, at, hook)

    def event(self, kind, data, at, hook):
        event = {
            "id": str(uuid.uuid4()),
            "event_type": kind,
            "resource_type": kind.split(".")[0],
            "occurred_at": millis(at),
            "agent": None,
            "client": {"name": "PagerDuty"},
            "data": data,
        }
        return self.message(event["id"], {"event": event}, hook)

    def other(self, kind):
        """An event that nobody has heard of."""
        return self.event(kind, {"type": "novelty"}, now(), True)

    def written(self):
        return {"notes": self.notes, "pages": self.pages}

    def signed(self, message_id, body, sign):
        secrets = {
            "right": [SECRET],
            "rotating": [OLD_SECRET, SECRET],
            "old": [OLD_SECRET],
            "wrong": ["somebody's"],
            "other body": [SECRET],
            "none": None,
        }[sign]
        headers = {"X-Webhook-Id": message_id, "User-Agent": "PagerDuty-Webhook/V3.0"}
        if secrets is not None:
            codes = [hmac.new(key.encode(), body, hashlib.sha256).hexdigest() for key in secrets]
            headers["X-PagerDuty-Signature"] = ",".join(f"v1={code}" for code in codes)
        return headers

    # What callers are answered.

    def limits(self):
        return {"ratelimit-limit": "960", "ratelimit-remaining": "0", "ratelimit-reset": str(self.REST)}

    def too_many(self):
        return {"error": {"message": "Rate Limit Exceeded", "code": 2020}}

    def bucket(self, parts):
        # The Events API has limits of its own.
        return parts != ["v2", "enqueue"]

    def answer(self, method, path, query, headers, body):
        if (method, path) == ("POST", ["v2", "enqueue"]):
            return self.enqueue(body)
        if headers.get("authorization") != f"Token token={TOKEN}":
            self.fault(401, "a call without the token")
        if headers.get("accept") != "application/vnd.pagerduty+json;version=2":
            self.fault(406, "a call without the version in Accept")
        if headers.get("content-type") != "application/json":
            self.fault(400, "a call without Content-Type")
        match method, path:
            case "GET", ["incidents"]:
                return 200, self.paged(query, "incidents", self.open(query))
            case "GET", ["incidents", key]:
                return 200, {"incident": self.shown(self.found(key))}
            case "POST", ["incidents", key, "notes"]:
                return self.note(key, headers, body)
            case "GET", ["oncalls"]:
                return 200, self.paged(query, "oncalls", self.oncalls(query))
            case "GET", ["users", user] if user in self.broken:
                raise Refused(500, {"error": {"message": "Internal Server Error", "code": 2000}})
            case "GET", ["users", user] if user in self.users:
                return 200, {"user": {**reference("user", user), "type": "user", "email": self.users[user]}}
        raise Refused(404, {"error": {"message": "Not Found", "code": 2100}})

    def paged(self, query, name, items):
        limit, offset = int(query.get("limit", ["25"])[0]), int(query.get("offset", ["0"])[0])
        if not 1 <= limit <= 100:
            self.fault(400, "a page of more than 100")
        if limit + offset > 10_000:
            self.fault(400, "more than can be paged through")
        # A small account: pages are as small as they may be.
        limit = min(limit, 2)
        more = len(items) > offset + limit
        page = {"limit": limit, "offset": offset, "more": more, "total": None}
        return {name: items[offset : offset + limit], **page}

    def open(self, query):
        statuses = query.get("statuses[]", ["triggered", "acknowledged", "resolved"])
        if set(statuses) - {"triggered", "acknowledged", "resolved"}:
            self.fault(400, "a status that there is not")
        if query.get("date_range") != ["all"]:
            # By default the last month.
            self.fault(400, "incidents of the last month only are asked for")
        return [self.shown(it) for it in self.incidents.values() if it["status"] in statuses]

    def found(self, key):
        for it in self.incidents.values():
            if key in (it["id"], str(it["number"])):
                return it
        raise Refused(404, {"error": {"message": "Not Found", "code": 2100}})

    def forget(self, number):
        del self.incidents[number]

    def shown(self, it):
        at = seconds(it["updated"])
        joined = [{"state": "joined", "user": reference("user", user)} for user in it["joined"]]
        return {
            "id": it["id"],
            "type": "incident",
            "summary": f"[#{it['number']}] {it['title']}",
            "incident_number": it["number"],
            "title": it["title"],
            "created_at": seconds(it["created"]),
            "updated_at": at,
            "last_status_change_at": at,
            "status": it["status"],
            "service": reference("service", it["service"], "Payments"),
            "assignments": [{"at": at, "assignee": reference("user", user)} for user in it["assigned"]],
            "acknowledgements": [],
            "priority": reference("priority", "PSO75BM", it["priority"]),
            "incidents_responders": joined,
            "responder_requests": [],
            "urgency": "high",
        }

    def oncalls(self, query):
        wanted = query.get("schedule_ids[]", list(self.shifts))
        all = [(schedule, *one) for schedule in wanted for one in self.shifts.get(schedule, [])]
        return [
            {
                "user": reference("user", user),
                "schedule": reference("schedule", schedule),
                "escalation_policy": reference("escalation_policy", "PT20YPA"),
                "escalation_level": 1,
                "start": seconds(now(-3600)),
                "end": end,
            }
            for schedule, user, end in all
            if end > seconds(now())
        ]

    def note(self, key, headers, body):
        it = self.found(key)
        if key != it["id"]:
            self.fault(404, "a note on a number, where an id is wanted")
        if headers.get("from") not in self.users.values():
            self.fault(400, "a note from nobody")
        content = body.get("note", {}).get("content")
        if not content:
            self.fault(400, "a note that says nothing")
        if self.refused_notes.get(it["number"]):
            raise Refused(self.refused_notes[it["number"]], {"error": {"message": "No note here", "code": 2010}})
        if sum(note["number"] == it["number"] for note in self.notes) >= self.most_notes.get(it["number"], 2000):
            raise Refused(400, {"error": {"message": "Invalid Input Provided", "code": 2001}})
        self.notes.append({"number": it["number"], "content": content})
        data = {"incident": reference("incident", it["id"]), "id": "PWL7QXS", "type": "incident_note", "content": content}
        self.later(self.event, "incident.annotated", {**data, "trimmed": False}, now(), True)
        return 200, {"note": {"id": "PWL7QXS", "content": content, "created_at": seconds(now())}}

    def enqueue(self, body):
        since = None if self.pages_limited_at is None else time.monotonic() - self.pages_limited_at
        if since is not None and since < self.REST:
            self.fault(429, "the Events API was to be left alone")
        if self.limited_pages > 0:
            self.limited_pages -= 1
            self.pages_limited_at = time.monotonic()
            raise Refused(429, {"status": "throttle exceeded"}, {"Retry-After": str(self.REST)})
        if body.get("routing_key") != ROUTING_KEY:
            self.fault(400, "an event with another routing key")
        action = body.get("event_action")
        if action not in ("trigger", "acknowledge", "resolve"):
            self.fault(400, "an event without an action")
        if action == "trigger":
            payload = body.get("payload", {})
            for name in ("summary", "source", "severity"):
                if not payload.get(name):
                    self.fault(400, f"an event without {name}")
            if payload["severity"] not in ("critical", "error", "warning", "info"):
                self.fault(400, "an event with another severity")
            if len(payload["summary"]) > 1024:
                self.fault(400, "a summary that is too long")
        elif not body.get("dedup_key"):
            self.fault(400, "an event about nothing")
        self.pages.append(body)
        return 202, {"status": "success", "message": "Event processed", "dedup_key": body.get("dedup_key")}


serve(PagerDuty())
