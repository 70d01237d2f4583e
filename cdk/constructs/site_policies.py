"""The sites' policies, as parameters that the release functions read.

Parameters and not variables: a Lambda's environment holds 4 KB, which thirty sites would exceed.
"""

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk.settings import StageSettings
from functions.core.candidates.site_policy import SitePolicy, policy_parameter


class SitePolicyParameters(Construct):
    """One parameter for the stage, and one for each site with demands of its own."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: StageSettings) -> None:
        """Create the parameters."""
        super().__init__(scope, construct_id)
        self._stage = settings.stage
        self._parameter("Stage", None, settings.site_policy)
        for site in settings.sites:
            self._parameter(f"Site{site}", site, settings.policy_of(site))

    def _parameter(self, construct_id: str, site: str | None, policy: SitePolicy) -> None:
        ssm.StringParameter(
            self,
            construct_id,
            parameter_name=policy_parameter(self._stage, site),
            description=f"What {site or 'a site of this stage'} demands of a release to go live",
            string_value=policy.model_dump_json(),
        )
