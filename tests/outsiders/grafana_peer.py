"""Grafana Cloud IRM's alert groups and schedules, as far as public documents say what they do.

Built from github.com/grafana/oncall at 3666186a, of 2026-01-05: docs/sources/oncall-api-reference (_index: authentication,
pagination, rate limits; alertgroups, schedules, users, resolution_notes) and docs/sources/configure/integrations/
outgoing-webhooks. Of limits these say the status alone; the server of the same commit brings `Retry-After` and
`RateLimit-Reset` along, and labels of alert groups as `[{key: {id, name}, value: {id, name}}]`.

Checks of who calls: the token and the stack's URL of each call, the states that an alert group is filtered by, the dates
of shifts, a note's text. Checks of who takes messages: an answer within 4 seconds. Nothing is signed: a webhook has the
`Authorization` header that it was given, and no order is promised. Pages have two items, `next` is a link to
another. Incidents that are declared are another API's: grafana_incidents_peer.py.
"""

import datetime
import sys
import urllib.parse

from vendor import Refused, Vendor, millis, now, seconds, serve

TOKEN, STACK, SECRET = sys.argv[1:4]


class Grafana(Vendor):
    PATIENCE = 4.0

    def __init__(self):
        super().__init__()
        self.groups, self.shifts, self.users, self.notes = {}, {}, {}, []

    def user(self, id, email):
        self.users[id] = email

    def shift(self, schedule, users, ends_in=7200.0):
        self.shifts[schedule] = [(user, seconds(now(ends_in))) for user in users]

    def fire(self, id, integration, labels=None, **how):
        self.groups[id] = {"integration": integration, "state": "new", "by": None, "labels": labels or {}}
        return self.become(id, "alert group created", **how)

    def acknowledge(self, id, user, **how):
        self.groups[id]["by"] = user
        self.groups[id]["state"] = "acknowledged"
        return self.become(id, "acknowledge", **how)

    def resolve(self, id, **how):
        self.groups[id]["state"] = "resolved"
        return self.become(id, "resolve", **how)

    def unresolve(self, id, **how):
        self.groups[id]["state"] = "new"
        return self.become(id, "unresolve", **how)

    def become(self, id, kind, hook=True):
        it = self.groups[id]
        body = {
            "event": {"type": kind, "time": millis(now())},
            "user": {"id": "UVMX6YI9VY9PV", "username": "admin", "email": "admin@localhost"},
            # Here labels are a mapping.
            "alert_group": {**self.shown(id), "labels": it["labels"]},
            "alert_group_id": id,
            "integration": {"id": it["integration"], "type": "webhook", "name": "Payments"},
            "webhook": {"id": "WH9NSKXWPXSNY3", "name": "Portcullis", "labels": {}},
        }
        return self.message(id, body, hook)

    def written(self):
        return {"notes": self.notes}

    def shown(self, id):
        it = self.groups[id]
        return {
            "id": id,
            "integration_id": it["integration"],
            "route_id": "RIYGUJXCPFHXY",
            "alerts_count": 3,
            "state": it["state"],
            "created_at": "2026-05-19T12:37:01.430444Z",
            "resolved_at": None,
            "acknowledged_at": None,
            "acknowledged_by": it["by"],
            "resolved_by": None,
            "title": "Memory above 90% threshold",
            "permalinks": {"slack": None, "telegram": None},
            "silenced_at": None,
            "labels": [
                {"key": {"id": f"K-{key}", "name": key}, "value": {"id": f"V-{value}", "name": value}}
                for key, value in it["labels"].items()
            ],
        }

    def signed(self, message_id, body, sign):
        headers = {"User-Agent": "Grafana OnCall"}
        if sign != "none":
            headers["Authorization"] = "somebody's" if sign == "wrong" else SECRET
        return headers

    # What callers are answered.

    def limits(self):
        return {"Retry-After": str(self.REST), "RateLimit-Reset": str(self.REST)}

    def too_many(self):
        return {"detail": "Request was throttled."}

    def answer(self, method, path, query, headers, body):
        if headers.get("authorization") != TOKEN:
            self.fault(403, "a call without the token")
        if headers.get("x-grafana-url") != STACK:
            self.fault(403, "a service account's call without its stack")
        match method, path:
            case "GET", ["api", "v1", "alert_groups"]:
                state = query.get("state", [None])[0]
                if state not in (None, "new", "acknowledged", "resolved", "silenced"):
                    self.fault(400, "a state that there is not")
                found = [self.shown(id) for id, it in self.groups.items() if state in (None, it["state"])]
                return 200, self.paged(query, found)
            case "GET", ["api", "v1", "alert_groups", id] if id in self.groups:
                return 200, self.shown(id)
            case "GET", ["api", "v1", "schedules", name, "final_shifts"] if name in self.shifts:
                return 200, self.paged(query, self.final(query, name))
            case "GET", ["api", "v1", "users", id] if id in self.users:
                return 200, {"id": id, "email": self.users[id], "username": "somebody"}
            case "POST", ["api", "v1", "resolution_notes"]:
                if body["alert_group_id"] not in self.groups or not body.get("text"):
                    self.fault(400, "a note on nothing")
                self.notes.append({"id": body["alert_group_id"], "content": body["text"]})
                return 201, {"id": "M4BTQUS3PRHYQ", **body}
        raise Refused(404, {"detail": "Not found."})

    def paged(self, query, items):
        page = int(query.get("page", ["1"])[0])
        results = items[(page - 1) * 2 : page * 2]
        more = len(items) > page * 2
        # The link has the whole query; its documents name no parameter of pages.
        link = urllib.parse.urlencode({name: values[0] for name, values in query.items()} | {"page": page + 1})
        return {
            "count": len(items),
            "next": f"https://oncall.example.com/api/v1/?{link}" if more else None,
            "previous": None,
            "results": results,
            "current_page_number": page,
            "page_size": 2,
            "total_pages": (len(items) + 1) // 2,
        }

    def final(self, query, name):
        start = datetime.date.fromisoformat(query["start_date"][0])
        end = datetime.date.fromisoformat(query["end_date"][0])
        if not datetime.timedelta(0) <= end - start <= datetime.timedelta(365):
            self.fault(400, "shifts of no time, or of more than a year")
        before = [
            {"user_pk": "UOLD", "user_email": "ben@example.com", "shift_start": seconds(now(-9000)), "shift_end": seconds(now(-3600))}
        ]
        shifts = [
            {"user_pk": user, "user_email": self.users[user], "shift_start": seconds(now(-3600)), "shift_end": end}
            for user, end in self.shifts[name]
        ]
        after = [
            {"user_pk": "UNEW", "user_email": "ben@example.com", "shift_start": seconds(now(7200)), "shift_end": seconds(now(9000))}
        ]
        return before + shifts + after


serve(Grafana())
