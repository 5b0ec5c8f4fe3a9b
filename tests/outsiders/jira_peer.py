"""Jira Service Management in the cloud, as far as Atlassian's public documents say what it does.

Built from pages of developer.atlassian.com, which have no version but the day of their last change where they say it:
- Jira Cloud platform, "Webhooks": secrets of webhooks that an administrator made (`X-Hub-Signature: sha256=…`, as WebSub
  has it), `X-Atlassian-Webhook-Identifier`, the retries; as read in November 2026;
- Jira Cloud platform, "Rate limiting", last updated 2026-03-05: `Retry-After` in seconds, `X-RateLimit-*`,
  `RateLimit-Reason`;
- The Jira Cloud REST API v3: "Issue search" (`GET search/jql`: `nextPageToken`, `isLast`, no fields but those that are
  asked for, a bounded query, up to 5,000 on a page, behind by moments), "Issues", "Users", "Issue comments"
  (Atlassian Document Format; up to 32,767 characters);
- The Jira Service Management ops REST API, reference v2, whose paths begin with `/v1`: "Schedule on-calls"
  (`flat=true`: `onCallUsers`).

Checks of who calls: basic authentication by e-mail and token, a bounded JQL, the fields that are asked for, the size of
a page, the document, length and visibility of a comment. Checks of who takes messages: an answer within 20 seconds,
and none refused that is signed. Messages may come again for more than an hour and in any order: tests order them.
Search is behind: an issue is found in it from the second time on that somebody asks.
"""

import base64
import hashlib
import hmac
import sys
import uuid

from vendor import Refused, Vendor, now, serve

USER, TOKEN, SECRET, CLOUD = sys.argv[1:5]


def jira_time(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000"


class Jira(Vendor):
    PATIENCE = 20.0

    def __init__(self):
        super().__init__()
        self.issues, self.shifts, self.users, self.comments = {}, {}, {}, []

    def user(self, id, email):
        self.users[id] = email

    def shift(self, schedule, users):
        self.shifts[schedule] = list(users)

    def create(self, key, component, assignee=None, responders=(), kind="[System] Incident", **how):
        self.issues[key] = {
            "key": key,
            "component": component,
            "assignee": assignee,
            "responders": list(responders),
            "kind": kind,
            "category": "new",
            "searches": 0,
        }
        return self.become(key, "jira:issue_created", **how)

    def status(self, key, category, **how):
        self.issues[key]["category"] = category
        return self.become(key, "jira:issue_updated", **how)

    def respond_with(self, key, responders, **how):
        self.issues[key]["responders"] = list(responders)
        return self.become(key, "jira:issue_updated", **how)

    def delete(self, key):
        issue = self.shown(self.issues.pop(key))
        body = {"timestamp": int(now().timestamp() * 1000), "webhookEvent": "jira:issue_deleted", "issue": issue}
        return self.message(str(uuid.uuid4()), body, True)

    def become(self, key, event, hook=True, offset=0.0):
        at = now(offset)
        self.issues[key]["updated"] = at
        body = {
            "timestamp": int(at.timestamp() * 1000),
            "webhookEvent": event,
            "issue_event_type_name": "issue_generic",
            "issue": self.shown(self.issues[key]),
        }
        return self.message(str(uuid.uuid4()), body, hook)

    def other(self, kind):
        body = {"timestamp": int(now().timestamp() * 1000), "webhookEvent": kind}
        return self.message(str(uuid.uuid4()), body, True)

    def written(self):
        return {"comments": self.comments}

    def person(self, user):
        # Whoever hides their address has none in what others see.
        shown = {"accountId": user, "accountType": "atlassian", "displayName": "Ana", "active": True}
        return shown

    def shown(self, it):
        assignee = self.person(it["assignee"]) if it["assignee"] else None
        fields = {
            "summary": "refunds are stuck",
            "project": {"id": "10000", "key": it["key"].split("-")[0], "name": "Operations"},
            "issuetype": {"id": "10005", "name": it["kind"]},
            "priority": {"id": "1", "name": "Highest"},
            "status": {
                "name": "Work in progress",
                "statusCategory": {"id": 4, "key": it["category"], "name": "In Progress"},
            },
            "updated": jira_time(it["updated"]),
            "assignee": assignee,
            "components": [{"id": "10100", "name": it["component"]}],
            "customfield_10200": [self.person(user) for user in it["responders"]],
        }
        return {"id": "18001", "key": it["key"], "self": f"https://acme.atlassian.net/{it['key']}", "fields": fields}

    def signed(self, message_id, body, sign):
        headers = {
            "X-Atlassian-Webhook-Identifier": message_id,
            "X-Atlassian-Webhook-Flow": "Primary",
            "User-Agent": "Atlassian HttpClient",
        }
        key = "somebody's" if sign == "wrong" else SECRET
        code = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        if sign != "none":
            headers["X-Hub-Signature"] = f"sha256={code}"
        return headers

    # What callers are answered.

    def limits(self):
        reset = now(self.REST).strftime("%Y-%m-%dT%H:%MZ")
        limits = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return {**limits, "RateLimit-Reason": "jira-burst-based", "Retry-After": str(self.REST)}

    def too_many(self):
        return {"errorMessages": ["Rate limit exceeded."]}

    def answer(self, method, path, query, headers, body):
        known = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if headers.get("authorization") != f"Basic {known}":
            self.fault(401, "a call of nobody")
        match method, path:
            case "GET", ["ex", "jira", cloud, "rest", "api", "3", *rest] if cloud == CLOUD:
                return self.read(rest, query)
            case "POST", ["ex", "jira", cloud, "rest", "api", "3", "issue", key, "comment"] if cloud == CLOUD:
                return self.comment(key, body)
            case "GET", ["jsm", "ops", "api", cloud, "v1", "schedules", name, "on-calls"] if cloud == CLOUD:
                if name not in self.shifts:
                    raise Refused(404, {"message": "not found"})
                if query.get("flat") != ["true"]:
                    self.fault(400, "participants are asked for, and not users")
                return 200, {"onCallUsers": self.shifts[name]}
        raise Refused(404, {"errorMessages": ["nothing here"]})

    def read(self, path, query):
        match path:
            case ["search", "jql"]:
                return 200, self.search(query)
            case ["issue", key] if key in self.issues:
                self.need_fields(query)
                return 200, self.shown(self.issues[key])
            case ["user"] if query["accountId"][0] in self.users:
                user = query["accountId"][0]
                return 200, {**self.person(user), "emailAddress": self.users[user]}
        raise Refused(404, {"errorMessages": ["Issue does not exist or you do not have permission to see it."]})

    def need_fields(self, query):
        fields = query.get("fields", [""])[0].split(",")
        for name in ("summary", "status", "updated", "components"):
            if name not in fields:
                self.fault(400, f"{name} is not asked for, and would not be there")

    def search(self, query):
        jql = query["jql"][0]
        wanted = 'project = "OPS" AND issuetype = "[System] Incident" AND statusCategory != Done'
        if not jql.startswith(wanted):
            self.fault(400, f"another query: {jql}")
        if not 1 <= int(query.get("maxResults", ["50"])[0]) <= 5000:
            self.fault(400, "a page of more than 5000")
        self.need_fields(query)
        found = []
        for it in self.issues.values():
            if it["key"].startswith("OPS-") and it["kind"] == "[System] Incident" and it["category"] != "done":
                it["searches"] += 1
                if it["searches"] > 1:
                    found.append(it)
        begin = int(query.get("nextPageToken", ["t0"])[0][1:])
        page = {"issues": [self.shown(it) for it in found[begin : begin + 2]], "isLast": len(found) <= begin + 2}
        if not page["isLast"]:
            page["nextPageToken"] = f"t{begin + 2}"
        return page

    def comment(self, key, body):
        if key not in self.issues:
            raise Refused(404, {"errorMessages": ["Issue does not exist"]})
        document = body.get("body", {})
        if (document.get("type"), document.get("version")) != ("doc", 1) or not document.get("content"):
            self.fault(400, "a comment that is no document")
        internal = {"key": "sd.public.comment", "value": {"internal": True}}
        if internal not in body.get("properties", []):
            self.fault(400, "a comment that customers would see")
        if sum(len(paragraph["content"][0]["text"]) + 1 for paragraph in document["content"]) > 32_767:
            self.fault(400, "a comment that is too long")
        lines = [paragraph["content"][0]["text"] for paragraph in document["content"]]
        self.comments.append({"key": key, "content": "\n".join(lines)})
        return 201, {"id": "10000"}


serve(Jira())
