"""The on-prem agents: one for all sites, or several, each with its sites, its queue and its policy.

The agent of one building must not see anything of another: files, their names, or uploads. IAM and
EventBridge limit the length of policies and patterns, so the number of an agent's sites is bounded.
"""

from collections.abc import Iterator
from itertools import islice

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk.constructs import grants
from cdk.constructs.messaging import Messaging, SurveysQueue
from cdk.constructs.permissions import IamPermission, permit
from cdk.constructs.storage import CHAMPION_KEYS, Storage
from events.outbound import EventSource
from events.stack import Stack as StackDescription
from events.stack import agent_parameter

_WRITTEN = ("quarantine", "releases", "runs", "snapshots")
_SITES_A_POLICY = 5
"""Keeps a policy below IAM's 6,144 characters with site names of any length."""


class AgentPolicy(Construct):
    """The managed policies of one agent and its Jobs, to be attached to their identity."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        storage: Storage,
        messaging: Messaging,
        surveys: SurveysQueue,
        parameter: str,
        sites: tuple[str, ...] = (),
    ) -> None:
        """Create the managed policies for `sites`, or one for all of them.

        Args:
            scope: the parent.
            construct_id: the construct's id in it.
            storage: both buckets.
            messaging: the bus.
            surveys: the agent's queue.
            parameter: the name of the SSM parameter that describes the stack to it.
            sites: the only sites; empty for all.
        """
        super().__init__(scope, construct_id)
        self._storage = storage
        common = (
            *grants.consume_queue(surveys.queue),
            *grants.send_dead_letters(surveys.dead_letters),
            *grants.put_events(messaging.bus, EventSource.AGENT),
            *grants.read_parameter(Stack.of(self), parameter),
        )
        if not sites:
            self._policies = [self._policy("Policy", (*common, *self._all_sites()))]
            return
        self._policies = [self._policy("Policy", common)]
        for number, some in enumerate(_batches(sites)):
            self._policies.append(self._policy(f"Sites{number}", self._only(some)))

    @property
    def arns(self) -> str:
        """The policies, all of which the agent's role needs: ARNs with commas between them."""
        return ",".join(policy.managed_policy_arn for policy in self._policies)

    def _policy(self, name: str, permissions: tuple[IamPermission, ...]) -> iam.ManagedPolicy:
        policy = iam.ManagedPolicy(
            self, name, description="The on-prem agent: surveys in, releases out"
        )
        permit(policy, permissions)
        return policy

    def _all_sites(self) -> tuple[IamPermission, ...]:
        written = tuple(f"sites/*/{folder}/*" for folder in _WRITTEN)
        return (
            *grants.read_objects("Surveys", self._storage.data, ("sites/*",)),
            *grants.read_objects("Artifacts", self._storage.artifacts, (*written, CHAMPION_KEYS)),
            *grants.write_objects("Artifacts", self._storage.artifacts, written),
        )

    def _only(self, sites: tuple[str, ...]) -> tuple[IamPermission, ...]:
        folders = tuple(f"sites/{site}/" for site in sites)
        all_of_them = tuple(f"{folder}*" for folder in folders)
        written = tuple(f"{folder}{kind}/*" for folder in folders for kind in _WRITTEN)
        return (
            *grants.read_objects("Surveys", self._storage.data, all_of_them, folders),
            *grants.read_objects("Artifacts", self._storage.artifacts, all_of_them, folders),
            *grants.write_objects("Artifacts", self._storage.artifacts, written),
        )


class SiteAgent(Construct):
    """One agent of several: its queue, its policy, and the parameter that it starts from."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        sites: tuple[str, ...],
        storage: Storage,
        messaging: Messaging,
        description: StackDescription,
    ) -> None:
        """Create all three for the agent called `name`."""
        super().__init__(scope, construct_id)
        parameter = agent_parameter(description.stage, name)
        surveys = SurveysQueue(self, data=storage.data, sites=sites)
        policy = AgentPolicy(
            self,
            "Policy",
            storage=storage,
            messaging=messaging,
            surveys=surveys,
            parameter=parameter,
            sites=sites,
        )
        described = description.model_copy(
            update={"queue_url": surveys.queue.queue_url, "sites": sites}
        )
        ssm.StringParameter(
            self,
            "Description",
            parameter_name=parameter,
            description=f"Where everything of the agent {name} is",
            string_value=Stack.of(self).to_json_string(described.model_dump(mode="json")),
        )
        CfnOutput(self, "PolicyArns", value=policy.arns)
        CfnOutput(self, "Parameter", value=parameter)


def _batches(sites: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    left = iter(sites)
    while some := tuple(islice(left, _SITES_A_POLICY)):
        yield some
