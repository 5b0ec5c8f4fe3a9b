"""An identity provider that provisions by SCIM: scim2-client, and scim2-tester's check of the standard.

    scim_client.py BASE TOKEN COMMAND ARGUMENTS…
"""

import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import PatchOp
from scim2_tester import Status, check_server

base, token, command, *arguments = sys.argv[1:]
scim = SyncSCIMClient(Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60))
scim.discover()
User, Group = scim.get_resource_model("User"), scim.get_resource_model("Group")


def patch(model, id, *operations):
    scim.modify(model, id, PatchOp[model].model_validate({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations),
    }), raise_scim_errors=True)


def find(model, filter):
    found = scim.query(model, query_parameters={"filter": filter}, raise_scim_errors=True)
    return found.resources or []


match command, arguments:
    case "check", []:
        fine = (Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE, Status.SKIPPED)
        wrong = [r for r in check_server(scim) if r.status not in fine]
        # Refused on purpose: without `active`, somebody who is deactivated would be active again.
        wrong = [r for r in wrong if not (r.title == "check_remove_attribute" and "'urn': 'active'" in repr(r.data))]
        for result in wrong:
            print(result)
        print("ok" if not wrong else f"{len(wrong)} checks failed")
    case "create-user", [name, external, email]:
        made = scim.create(User(user_name=name, external_id=external, active=True, emails=[{"value": email, "primary": True}]), raise_scim_errors=True)
        print(made.id)
    case "find-user", [filter]:
        print(" ".join(user.id for user in find(User, filter)))
    case "patch-inactive", [id]:
        patch(User, id, {"op": "replace", "path": "active", "value": False})
    case "put-active", [id, active]:
        user = scim.query(User, id, raise_scim_errors=True)
        user.active = active == "true"
        scim.replace(user, raise_scim_errors=True)
    case "delete-user", [id]:
        scim.delete(User, id, raise_scim_errors=True)
    case "create-group", [name, *members]:
        made = scim.create(Group(display_name=name, members=[{"value": member} for member in members]), raise_scim_errors=True)
        print(made.id)
    case "add-member", [group, user]:
        patch(Group, group, {"op": "add", "path": "members", "value": [{"value": user}]})
    case "remove-member", [group, user]:
        patch(Group, group, {"op": "remove", "path": f'members[value eq "{user}"]'})
    case _:
        sys.exit(f"no such command: {command}")
