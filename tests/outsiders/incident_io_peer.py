"""incident.io, as far as its public documents say what it does.

Built from
- its OpenAPI document 1.0.0 as of 2026-08-21 (openapi3.json of github.com/incident-io/sdk-go at 6919772d): Incidents V2,
  Schedule Entries V2, Users V2, Incident Attachments V1, "Rate limits", "Errors", and its webhooks;
- docs.incident.io/api-reference/webhooks, as read in November 2026 ("Status codes, errors and retries", "Verifying webhooks":
  `webhook-id`, `webhook-timestamp`, `webhook-signature`; powered by Svix). Messages are signed by the library of the
  Standard Webhooks specification, which Svix implements.

Checks of who calls: the bearer token; the size of a page; filters by category and mode; the window of schedule entries,
whose pages are gone through by an opaque start and the same end; of an edit the members that it must have, that each
custom field is one of theirs, and that a value is of its type; of an attachment that it has an id or a URL and not
both, a type that there is, and a title for links of any kind alone. Checks of who takes messages: an answer within the
15 seconds of Svix, and none refused that is signed, since it disables who refuses for long.

Messages come in no order, as its documents warn: tests order them. Each page of incidents has an `after`, and the one
behind the last is empty, as its documents leave it open. Of a private incident a message has the id alone. An edit
changes when an incident was updated, and is told like any other. How long a text may be it does not say.
"""

import base64
import datetime
import hashlib
import hmac
import sys

from standardwebhooks import Webhook
from vendor import Refused, Vendor, now, serve

TOKEN, SECRET, FIELD, NOTES = sys.argv[1:5]
OTHER = "whsec_" + base64.b64encode(b"somebody else's, of some length.").decode()
TYPES = (
    "pager_duty_incident opsgenie_alert datadog_monitor_alert github_pull_request gitlab_merge_request sentry_issue"
    " jira_issue jsm_alert atlassian_statuspage_incident zendesk_ticket google_calendar_event outlook_calendar_event"
    " slack_file salesforce_case arbitrary_url scrubbed statuspage_incident"
).split()
CATEGORIES = ("triage", "declined", "merged", "canceled", "live", "learning", "closed", "paused")


def micros(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class IncidentIo(Vendor):
    def __init__(self):
        super().__init__()
        self.incidents, self.shifts, self.users = {}, {}, {}
        self.attachments, self.edits = [], 0

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
            "text": None,
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
        if it["text"] is not None:
            entries.append({"custom_field": {"id": NOTES, "name": "Access"}, "values": [{"value_text": it["text"]}]})
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

    def write(self, number, text):
        """Somebody writes into the field by hand."""
        self.incidents[number]["text"] = text

    def written(self):
        texts = {it["reference"]: it["text"] for it in self.incidents.values()}
        return {"texts": texts, "attachments": self.attachments, "edits": self.edits}

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

    def limits(self):
        reset = str(int(now(60).timestamp()))
        limits = {"X-RateLimit-Limit": "1200, 1200;window=60", "X-RateLimit-Remaining": "0", "X-RateLimit-Used": "1200"}
        return {**limits, "X-RateLimit-Reset": reset, "Retry-After": str(self.REST)}

    def too_many(self):
        limit = {"name": "api_key_name", "limit": 1200, "remaining": 0, "retry_after": micros(now(self.REST))}
        errors = [{"code": "too_many_requests", "message": "Too many requests hit the API too quickly."}]
        return {"type": "too_many_requests", "status": 429, "rate_limit": limit, "errors": errors}

    def invalid(self, why):
        self.fault(422, why, {"type": "validation_error", "status": 422, "errors": [{"code": "invalid", "message": why}]})

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
            case "POST", ["v2", "incidents", key, "actions", "edit"]:
                return 200, {"incident": self.edit(self.by_id(key), body)}
            case "GET", ["v1", "incident_attachments"]:
                return 200, {"incident_attachments": self.attached(query)}
            case "POST", ["v1", "incident_attachments"]:
                return 201, {"incident_attachment": self.attach(body)}
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

    def by_id(self, key):
        for number, it in self.incidents.items():
            if it["id"] == key:
                return number
        raise Refused(404, {"type": "not_found", "status": 404})

    def edit(self, number, body):
        incident = body.get("incident")
        if not isinstance(incident, dict) or not isinstance(body.get("notify_incident_channel"), bool):
            self.invalid("an edit without what it must have")
        if set(incident) != {"custom_field_entries"}:
            self.invalid("an edit of more than a custom field")
        for entry in incident["custom_field_entries"]:
            if entry.get("custom_field_id") != NOTES:
                self.invalid("an edit of a field that there is not, or that is of another type")
            values = entry.get("values")
            if not isinstance(values, list) or len(values) > 1:
                self.invalid("a field of text has one value")
            for value in values:
                if list(value) != ["value_text"] or not isinstance(value["value_text"], str):
                    self.invalid("a value that is no text")
            self.incidents[number]["text"] = values[0]["value_text"] if values else None
        self.edits += 1
        if body["notify_incident_channel"]:
            self.faults.append("the incident's channel is told of each note")
        self.incidents[number]["updated"] = now()
        # It is told like any other change.
        self.later(self.become, number, self.incidents[number]["category"], "incident_updated_v2")
        return self.shown(self.incidents[number])

    def attached(self, query):
        by_incident = "incident_id" in query
        if not by_incident and not {"external_id", "resource_type"} <= set(query):
            self.invalid("attachments of nothing are asked for")
        wanted = query.get("incident_id", [None])[0]
        return [one for one in self.attachments if one["incident_id"] == wanted]

    def attach(self, body):
        self.by_id(body.get("incident_id"))
        resource = body.get("resource") or {}
        kind = resource.get("resource_type")
        if kind not in TYPES:
            self.invalid("an attachment of a type that there is not")
        if ("external_id" in resource) == ("url" in resource):
            self.invalid("an attachment has an id or a URL, and not both")
        if kind != "arbitrary_url" and {"title", "emoji"} & set(resource):
            self.invalid("a title is for links of any kind alone")
        if kind == "arbitrary_url" and not resource.get("url", "").startswith(("http://", "https://")):
            self.invalid("a link that leads nowhere")
        shown = {
            "external_id": resource.get("external_id") or f"link-{len(self.attachments)}",
            "permalink": resource.get("url", ""),
            "resource_type": kind,
            "title": resource.get("title") or resource.get("url", ""),
        }
        number = len(self.attachments)
        one = {"id": f"01ATT{number:021d}", "incident_id": body["incident_id"], "resource": shown}
        self.attachments.append(one)
        return one

    def entries(self, query):
        for name in ("schedule_id", "entry_window_start", "entry_window_end"):
            if len(query.get(name, [])) != 1:
                self.fault(422, f"schedule entries without {name}")
        start, end = query["entry_window_start"][0], query["entry_window_end"][0]
        moment = lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        page = 0
        if start.startswith("opaque:"):
            _, page, same_end = start.split(":", 2)
            page = int(page)
            if same_end != end:
                self.invalid("the end of the window changes from page to page")
        else:
            moment(start)
        moment(end)
        shifts = self.shifts.get(query["schedule_id"][0], [])
        final = [
            {"start_at": micros(now(-3600)), "end_at": end, "fingerprint": user, "user": self.person(user)}
            for user, end in shifts
        ]
        # What the rotation would have been, before an override.
        scheduled = [{**one, "user": {"id": "01SOMEBODYELSE", "email": "ben@example.com"}} for one in final]
        # One on a page.
        here, more = slice(page, page + 1), page + 1 < len(final)
        answer = {"schedule_entries": {"final": final[here], "overrides": final[here], "scheduled": scheduled[here]}}
        if more:
            after = f"opaque:{page + 1}:{end}"
            answer["pagination_meta"] = {"after": after, "after_url": f"https://api.incident.io/?after={after}"}
        return answer


# The library signs as the specification says: held against it once, by hand.
_raw = base64.b64decode(SECRET.removeprefix("whsec_"))
_code = hmac.new(_raw, b"a.1700000000.{}", hashlib.sha256).digest()
_at = datetime.datetime.fromtimestamp(1700000000, datetime.timezone.utc)
assert Webhook(SECRET).sign("a", _at, "{}") == "v1," + base64.b64encode(_code).decode()
serve(IncidentIo())
