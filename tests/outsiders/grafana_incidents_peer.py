"""Incidents that are declared in Grafana Cloud IRM, as far as public documents say what it does.

Built from
- github.com/grafana/incident-go at d3474bec, of 2026-06-30, which Grafana makes from the IRM API: client.gen.go
  (IncidentsService.QueryIncidentPreviews and GetIncident, UsersService.GetUser, ActivityService.AddActivity,
  OutgoingWebhookPayload) and webhook.go (`GI-Signature`);
- github.com/grafana/mcp-grafana at c6e492b3, of 2026-08-21: where a stack has the API, and the words of a query;
- grafana.com/docs/grafana-cloud, IRM, "Incident API": authentication, and the reference (an entry of the timeline has
  65,536 characters at most); "Configure Incident outgoing webhooks".

Checks of who calls: POST with JSON, the bearer token, the words, order and cursor of a query, ids, the kind and length of
an entry. Checks of who takes messages: an answer within 4 seconds, and none refused that is signed. A message is signed
over the SHA-256 of its body in base64, its second and the version. Pages have two previews; the cursor of the one before
leads to the next, as it was given. What goes wrong is answered as `error`; with which status it does not say, here 500.
"""

import base64
import hashlib
import hmac
import sys

from vendor import Refused, Vendor, now, serve

TOKEN, SECRET = sys.argv[1:3]
API = ["api", "plugins", "grafana-irm-app", "resources", "api", "v1"]
ORDER_FIELDS = (
    "incidentID createdTime modifiedTime title status severity prefix isDrill incidentStart incidentEnd closedTime"
).split()


def micros(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class GrafanaIncidents(Vendor):
    PATIENCE = 4.0

    def __init__(self):
        super().__init__()
        self.incidents, self.users, self.activity, self.broken = {}, {}, [], {}

    def user(self, id, email):
        self.users[id] = email

    def declare(self, id, label, roles=None, severity="minor", drill=False, **how):
        self.incidents[id] = {
            "label": label,
            "roles": dict(roles or {}),
            "severity": severity,
            "drill": drill,
            "status": "active",
            "created": now(how.get("offset", 0.0)),
        }
        return self.become(id, "grafana.incident.created", **how)

    def resolve(self, id, **how):
        self.incidents[id]["status"] = "resolved"
        return self.become(id, "grafana.incident.updated.status", **how)

    def activate(self, id, **how):
        self.incidents[id]["status"] = "active"
        return self.become(id, "grafana.incident.updated.status", **how)

    def assign(self, id, roles, **how):
        self.incidents[id]["roles"] = dict(roles)
        return self.become(id, "grafana.incident.updated.role", **how)

    def forget(self, id):
        """It is deleted: nobody is told, and whoever asks for it hears that it is not found."""
        del self.incidents[id]

    def break_incident(self, id, status=500):
        """What is asked about this incident alone is answered an error with this status; with none, as it should be."""
        self.broken[id] = status

    def become(self, id, kind, hook=True, offset=0.0):
        at = now(offset)
        self.incidents[id]["modified"] = at
        number = len(self.events)
        body = {
            "version": "v1.0.0",
            "id": f"webhook-out-{number:024d}",
            "source": "/grafana/incident",
            "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": kind,
            "incident": self.shown(id),
        }
        return self.message(body["id"], body, hook)

    def other(self, kind):
        body = {"version": "v1.0.0", "id": f"webhook-out-{len(self.events):024d}", "event": kind, "incident": None}
        return self.message(body["id"], body, True)

    def written(self):
        return {"notes": self.activity}

    def person(self, user):
        return {"userID": user, "name": "Somebody", "photoURL": "https://www.example.com/photo.png"}

    def shown(self, id):
        it = self.incidents[id]
        assignments = [
            {"roleID": number, "role": {"roleID": number, "name": role}, "user": self.person(user)}
            for number, (user, role) in enumerate(it["roles"].items())
        ]
        key, label = it["label"].split(":")
        return {
            "incidentID": id,
            "severity": it["severity"],
            "labels": [{"key": key, "label": label, "description": "", "colorHex": "#ff0000"}],
            "isDrill": it["drill"],
            "incidentType": "internal",
            "createdTime": micros(it["created"]),
            "modifiedTime": micros(it["modified"]),
            "closedTime": "",
            "status": it["status"],
            "title": "high latency in web requests",
            "overviewURL": f"/a/grafana-irm-app/incidents/{id}/title",
            "incidentMembership": {
                "assignments": assignments,
                "totalAssignments": len(assignments),
                "totalParticipants": 0,
            },
            "summary": "",
        }

    def signed(self, message_id, body, sign, sent=0):
        second = str(int(now(sent).timestamp()))
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        key = "somebody's" if sign == "wrong" else SECRET
        code = hmac.new(key.encode(), f"{digest}:{second}:v1".encode(), hashlib.sha256).hexdigest()
        return {} if sign == "none" else {"GI-Signature": f"t={second},v1={code}"}

    # What callers are answered.

    def answer(self, method, path, query, headers, body):
        if headers.get("authorization") != f"Bearer {TOKEN}":
            self.fault(401, "a call without the token")
        if method != "POST" or not headers.get("content-type", "").startswith("application/json"):
            self.fault(405, "a call that posts no JSON")
        if path[:-1] != API:
            raise Refused(404, {"message": "Not found"})
        match path[-1]:
            case "IncidentsService.QueryIncidentPreviews":
                return 200, self.previews(body)
            case "IncidentsService.GetIncident":
                id = self.known(body, "incidentID", self.incidents)
                if self.broken.get(id):
                    return self.broken[id], {"error": "something went wrong"}
                return 200, {"incident": self.shown(id)}
            case "UsersService.GetUser":
                user = self.known(body, "userID", self.users)
                return 200, {"user": {**self.person(user), "email": self.users[user]}}
            case "ActivityService.AddActivity":
                return 200, {"activityItem": self.add(body)}
        raise Refused(404, {"message": "Not found"})

    def known(self, body, name, all):
        if body.get(name) not in all:
            raise Refused(500, {"error": "not found"})
        return body[name]

    def previews(self, body):
        wanted, cursor = body.get("query") or {}, body.get("cursor") or {}
        if wanted.get("orderDirection") not in ("ASC", "DESC") or wanted.get("orderField") not in ORDER_FIELDS:
            self.fault(500, "an order that there is not")
        if not 1 <= wanted.get("limit", 0) <= 100:
            self.fault(500, "a page of none, or of too many")
        words = dict(word.split(":") for word in wanted.get("queryString", "").split())
        if set(words) - {"isdrill", "status"} or words.get("status") not in (None, "active", "resolved"):
            self.fault(500, "words that mean something else")
        all = [
            id
            for id, it in self.incidents.items()
            if words.get("status") in (None, it["status"]) and (words.get("isdrill") != "false" or not it["drill"])
        ]
        begin = 0
        if cursor.get("nextValue"):
            if not cursor["nextValue"].startswith("next-") or cursor.get("hasMore") is not True:
                self.fault(500, "a cursor that was not given")
            begin = int(cursor["nextValue"].removeprefix("next-"))
        more = len(all) > begin + 2
        previews = []
        for id in all[begin : begin + 2]:
            preview = self.shown(id)
            # Not all who work on it, and other names.
            del preview["incidentMembership"]
            previews.append({**preview, "severityLabel": preview.pop("severity"), "severityID": "severity-1"})
        return {"incidentPreviews": previews, "query": wanted, "cursor": {"nextValue": f"next-{begin + 2}", "hasMore": more}}

    def add(self, body):
        id = self.known(body, "incidentID", self.incidents)
        if body.get("activityKind") != "userNote":
            self.fault(500, "an entry of another kind")
        if not body.get("body") or len(body["body"]) > 65_536:
            self.fault(500, "an entry that says nothing, or too much")
        self.activity.append({"id": id, "content": body["body"]})
        return {"activityItemID": f"activity-{len(self.activity)}", "incidentID": id, "body": body["body"]}


serve(GrafanaIncidents())
