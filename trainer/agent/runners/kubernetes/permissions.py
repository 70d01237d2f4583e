"""What the agent must be allowed in its namespace: the Role grants it, the doctor asks for it."""

from typing import TYPE_CHECKING, NamedTuple

from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.shapes import AccessReview

if TYPE_CHECKING:
    from pydantic import JsonValue

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Needed(NamedTuple):
    """One thing that the agent does."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        """As people say it, such as ``get pods/log``."""
        return f"{self.verb} {'/'.join(filter(None, (self.resource, self.subresource)))}"


NEEDED = (
    *(
        Needed(verb, "batch", "jobs")
        for verb in ("create", "get", "list", "watch", "patch", "delete")
    ),
    Needed("list", "", "pods"),
    Needed("get", "", "pods", "log"),
    Needed("list", "", "events"),
)
NEEDED_TO_LEAD = (
    Needed("get", "coordination.k8s.io", "leases"),
    Needed("update", "coordination.k8s.io", "leases"),
)
"""Only where replicas share a Lease."""


def is_allowed(api: Api, needed: Needed, name: str = "") -> bool:
    """Ask the API server whether we may do something, in the namespace.

    Args:
        api: the cluster.
        needed: what to do.
        name: to which object; empty for any.

    Raises:
        ClusterError: the API server gave no answer.
    """
    asked: dict[str, JsonValue] = {
        "namespace": api.namespace,
        "verb": needed.verb,
        "group": needed.group,
        "resource": needed.resource,
        "subresource": needed.subresource,
        "name": name,
    }
    answer = api.create(
        _REVIEWS,
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        },
    )
    return AccessReview.model_validate(answer).status.allowed
