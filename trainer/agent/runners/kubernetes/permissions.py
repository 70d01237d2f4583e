"""The permissions that the agent needs in its namespace; the Role grants them."""

from typing import TYPE_CHECKING, NamedTuple

from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.shapes import AccessReview

if TYPE_CHECKING:
    from pydantic import JsonValue

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Needed(NamedTuple):
    """One permission."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        """As kubectl takes it, such as ``get pods/log``."""
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
    """Ask the API server whether the agent has a permission in the namespace.

    Args:
        api: the cluster.
        needed: the permission.
        name: the object's name; empty for any.

    Raises:
        ClusterError: the API server gave no answer.
    """
    attributes: dict[str, JsonValue] = {
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
            "spec": {
                "resourceAttributes": {key: value for key, value in attributes.items() if value}
            },
        },
    )
    return AccessReview.model_validate(answer).status.allowed
