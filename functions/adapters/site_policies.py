"""The policies of the sites, from the parameters that the stack wrote."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from functions.core.candidates.site_policy import SitePolicy, policy_parameter

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

CACHED = timedelta(minutes=1)
"""How long a function goes on with a policy that it has read."""


class SitePolicies:
    """Reads policies: a site's own, else the stage's, else the defaults."""

    def __init__(self, client: "SSMClient", stage: str, now: Callable[[], datetime]) -> None:
        self._ssm = client
        self._stage = stage
        self._now = now
        self._read: dict[str, tuple[datetime, SitePolicy]] = {}

    def of(self, site: str) -> SitePolicy:
        """A site's policy, as it was a minute ago at most."""
        known = self._read.get(site)
        if known is None or self._now() - known[0] >= CACHED:
            known = self._read[site] = (self._now(), self._look_up(site))
        return known[1]

    def _look_up(self, site: str) -> SitePolicy:
        names = [policy_parameter(self._stage, site), policy_parameter(self._stage)]
        found = {
            parameter["Name"]: parameter["Value"]
            for parameter in self._ssm.get_parameters(Names=names)["Parameters"]
        }
        body = next((found[name] for name in names if name in found), None)
        return SitePolicy() if body is None else SitePolicy.model_validate_json(body)
