"""``champion.json`` in the artifact bucket: what is live, for who can't see the ledger.

What may go wrong: two steps write at once. Each write is conditional on what was read before it,
so one of them is told that it has to look again.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from events.manifests import Champion
from events.names import champion_key

_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}
"""Another write came first, or is under way, or what was to be replaced is gone."""


@dataclass(frozen=True)
class Lying:
    """What lies at a site's key: None where nothing does, or nothing that is a pointer."""

    champion: Champion | None
    etag: str | None
    """None where nothing lies."""


class Champions:
    """Reads and fenced writes of the sites' pointers."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def read(self, site: str) -> Lying:
        """The pointer as it lies there."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=champion_key(site))
        except self._s3.exceptions.NoSuchKey:
            return Lying(None, None)
        try:
            champion = Champion.model_validate_json(answer["Body"].read())
        except ValidationError:  # somebody wrote over it by hand: it is written anew
            champion = None
        return Lying(champion, answer["ETag"])

    def write(self, champion: Champion, replacing: Lying) -> bool:
        """Put a pointer in the place of what was read; False if that changed in the meantime."""
        condition = {"IfMatch": replacing.etag} if replacing.etag else {"IfNoneMatch": "*"}
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=champion_key(champion.site),
                Body=champion.model_dump_json().encode(),
                ContentType="application/json",
                **condition,
            )
        except self._s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _LOST:
                return False
            raise
        return True
