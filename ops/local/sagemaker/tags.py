"""Tags of SageMaker's resources, by ARN."""

import threading
from collections.abc import Sequence

from ops.local.gateway.protocol import JsonObject
from ops.local.sagemaker import api


class ResourceTags:
    """The tags of every resource."""

    def __init__(self) -> None:
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def of(self, arn: str) -> dict[str, str]:
        """The tags of one resource."""
        with self._lock:
            return dict(self._tags.get(arn, {}))

    def set(self, arn: str, tags: Sequence[api.Tag]) -> None:
        """Set tags and keep the others."""
        with self._lock:
            self._tags.setdefault(arn, {}).update({tag.key: tag.value for tag in tags})

    def forget(self, arn: str) -> None:
        """Drop the tags of a resource that is deleted."""
        with self._lock:
            self._tags.pop(arn, None)

    def add(self, request: api.AddTags) -> JsonObject:
        """AddTags."""
        self.set(request.resource_arn, request.tags)
        return self.list(request)

    def delete(self, request: api.DeleteTags) -> JsonObject:
        """DeleteTags."""
        with self._lock:
            for key in request.tag_keys:
                self._tags.get(request.resource_arn, {}).pop(key, None)
        return {}

    def list(self, request: api.TagsRequest) -> JsonObject:
        """ListTags."""
        tags = self.of(request.resource_arn)
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
