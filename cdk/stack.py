"""One stage of rssi-mlops: composes the constructs, and describes the stack to its clients."""

from aws_cdk import CfnOutput, DefaultStackSynthesizer, Stack
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from cdk.constructs.agents import AgentPolicy, SiteAgent
from cdk.constructs.identities import ExecutionRole
from cdk.constructs.ledger import LedgerTable
from cdk.constructs.messaging import Messaging, SurveysQueue
from cdk.constructs.release_functions import ReleaseFunctions
from cdk.constructs.site_policies import SitePolicyParameters
from cdk.constructs.storage import Storage
from cdk.settings import StageSettings
from events.stack import Stack as StackDescription
from events.stack import stack_parameter


class RssiMlops(Stack):
    """Everything that a stage needs in AWS."""

    def __init__(self, scope: Construct, *, settings: StageSettings) -> None:
        """Compose the stage's stack, named `RssiMlops-{stage}`."""
        super().__init__(
            scope,
            f"RssiMlops-{settings.stage}",
            description=f"rssi-mlops, stage {settings.stage}",
            # The CDK's command line checks the bootstrap version by the manifest as well; this
            # keeps an SSM look-up out of the template.
            synthesizer=DefaultStackSynthesizer(generate_bootstrap_version_rule=False),
        )
        storage = Storage(self, "Storage", settings=settings)
        messaging = Messaging(self, "Wire", settings=settings)
        ledger = LedgerTable(self, "Ledger", settings=settings)
        execution = ExecutionRole(
            self,
            "Execution",
            artifacts=storage.artifacts,
            image=settings.serving_image,
            endpoint_prefix=settings.endpoint_prefix,
        )
        SitePolicyParameters(self, "SitePolicies", settings=settings)
        ReleaseFunctions(
            self,
            "Release",
            settings=settings,
            storage=storage,
            messaging=messaging,
            ledger=ledger,
            execution=execution,
        )
        description = StackDescription(
            stage=settings.stage,
            data_bucket=storage.data.bucket_name,
            artifact_bucket=storage.artifacts.bucket_name,
            bus=messaging.bus.event_bus_name,
            ledger_table=ledger.table.table_name,
            event_log=messaging.event_log.log_group_name,
            endpoint_prefix=settings.endpoint_prefix,
            topic_arn=messaging.topic.topic_arn,
        )
        for name, sites in settings.agents.items():
            SiteAgent(
                self,
                f"Agent{name.title()}",
                name=name,
                sites=sites,
                storage=storage,
                messaging=messaging,
                description=description,
            )
        if not settings.agents:
            description = self._one_agent(storage, messaging, description)
        self._describe(description)

    def _one_agent(
        self, storage: Storage, messaging: Messaging, description: StackDescription
    ) -> StackDescription:
        """Create the agent for all sites; returns the description with its queue."""
        # Ids from before there could be several agents, so that a deployment replaces nothing.
        surveys = SurveysQueue(messaging, data=storage.data)
        policy = AgentPolicy(
            self,
            "Agent",
            storage=storage,
            messaging=messaging,
            surveys=surveys,
            parameter=stack_parameter(description.stage),
        )
        self._output("QueueUrl", surveys.queue.queue_url)
        self._output("AgentPolicyArn", policy.arns)
        return description.model_copy(update={"queue_url": surveys.queue.queue_url})

    def _describe(self, description: StackDescription) -> None:
        parameter = ssm.StringParameter(
            self,
            "Description",
            parameter_name=stack_parameter(description.stage),
            description="Where everything of this stage is; the command line starts here",
            string_value=self.to_json_string(description.model_dump(mode="json")),
        )
        self._output("Parameter", parameter.parameter_name)
        self._output("DataBucket", description.data_bucket)
        self._output("ArtifactBucket", description.artifact_bucket)
        self._output("BusName", description.bus)
        self._output("LedgerTable", description.ledger_table)
        self._output("TopicArn", description.topic_arn)

    def _output(self, name: str, value: str) -> None:
        CfnOutput(self, name, value=value)
