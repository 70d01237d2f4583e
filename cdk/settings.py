"""A stage's settings, from the CDK's context, validated before anything is synthesized.

A wrong value would otherwise fail half-way through a deployment, or in production.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from cdk import ROOT
from cdk.errors import SettingsError
from events.names import Site
from functions.core.candidates.site_policy import SitePolicy

CONTEXT_KEY = "rssi-mlops"
STAGE_KEY = "stage"
DEFAULT_STAGE = "dev"
_HANDED_OVER = "CDK_CONTEXT_JSON"

_Parsed = TypeVar("_Parsed", bound=BaseModel)

# Retention periods that CloudWatch Logs accepts, of those that make sense here (days).
LogRetentionDays = Literal[1, 7, 14, 30, 90, 180, 365]

# `{account}` and `{region}` stand for the ones that are deployed to: a template then suits any.
_SERVING_IMAGE = re.compile(
    r"(?P<account>\d{12}|\{account\})\.dkr\.ecr\.(?P<region>[a-z]{2}(-[a-z]+)+-\d|\{region\})"
    r"\.amazonaws\.com(\.cn)?/(?P<repository>[a-z0-9]+([._/-][a-z0-9]+)*)"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})"
)

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
AgentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*$", max_length=20)]
# EventBridge takes patterns of at most 2,048 characters, and a role ten policies.
AgentSites = Annotated[tuple[Site, ...], Field(min_length=1, max_length=30)]


class Removal(StrEnum):
    """What happens to data, ledger and logs when the stack is deleted or a resource replaced."""

    RETAIN = "retain"
    DESTROY = "destroy"


class ServingImage(BaseModel):
    """Where the serving container's image is, taken apart for the permission to pull it."""

    model_config = ConfigDict(frozen=True)

    uri: str
    account: str
    region: str
    repository: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Take an ECR image URI apart.

        Raises:
            ValueError: If it is not `ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG`.
        """
        match = _SERVING_IMAGE.fullmatch(uri)
        if match is None:
            raise ValueError(
                "must be ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG or @sha256:DIGEST, "
                "where {account} and {region} may stand for those deployed to"
            )
        return cls(uri=uri, **match.groupdict())


class StageSettings(BaseModel):
    """One stage's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*$", max_length=16)] = (
        DEFAULT_STAGE
    )
    """Short, so that `rssi-STAGE-SITE` fits into SageMaker's 63 characters for any site; without
    hyphens, so that no stage's names start like another's."""
    serving_image: ServingImage
    instance_type: Annotated[str, StringConstraints(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
    instance_count: Annotated[int, Field(ge=1)] = 1
    smoke_latency_ms: Annotated[int, Field(ge=1, le=60_000)] = 1000
    """Slowest answer to a smoke test; SageMaker itself gives up after 60 s."""
    termination_wait_s: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long the old fleet stays after traffic moved to the new one; SageMaker's bounds."""
    dead_attempts_days: Annotated[int, Field(ge=2, le=3650)] = 7
    """How long the files of an attempt stay that did not claim its run's release, and as long again
    until they are purged. No run may take longer than a day."""
    failed_attempts_days: Annotated[int, Field(ge=2, le=3650)] = 30
    """The same for the newest attempt at a run that has no release."""
    notification_emails: tuple[Email, ...] = ()
    agents: Mapping[AgentName, AgentSites] = {}
    """The on-prem agents by name, each with the only sites that it looks after and sees; without
    any, one agent looks after all sites."""
    site_policy: SitePolicy = SitePolicy()
    """What this stage demands of a release before it goes live by itself."""
    sites: Mapping[Site, Mapping[str, object]] = {}
    """What single sites demand otherwise, by site: fields of `site_policy`, such as `gate`."""
    removal: Removal = Removal.RETAIN
    log_retention_days: LogRetentionDays = 90

    @field_validator("serving_image", mode="before")
    @classmethod
    def _parse_image(cls, value: object) -> object:
        return ServingImage.parse(value) if isinstance(value, str) else value

    @field_validator("agents")
    @classmethod
    def _one_agent_a_site(cls, value: Mapping[str, tuple[str, ...]]) -> object:
        sites = [site for of_agent in value.values() for site in of_agent]
        shared = sorted({site for site in sites if sites.count(site) > 1})
        if shared:
            raise ValueError(
                f"a site is trained by one agent, and these are given to more: {', '.join(shared)}"
            )
        return value

    @model_validator(mode="after")
    def _check_policies(self) -> Self:
        for site in self.sites:
            try:
                self.policy_of(site)
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(
                    f"sites.{site}.{'.'.join(map(str, first['loc']))}: {first['msg']}"
                ) from error
        return self

    def policy_of(self, site: str) -> SitePolicy:
        """A declared site's policy: the stage's, with what the site demands otherwise."""
        return SitePolicy.model_validate(
            {**self.site_policy.model_dump(exclude_unset=True), **self.sites[site]}
        )

    @property
    def name(self) -> str:
        """The base of this stage's resource names, where a name must be chosen."""
        return f"rssi-mlops-{self.stage}"

    @property
    def bus_name(self) -> str:
        """The event bus; the default stage's has the name that listeners expect."""
        return "rssi-mlops" if self.stage == DEFAULT_STAGE else self.name

    @property
    def endpoint_prefix(self) -> str:
        """The prefix of the names of this stage's endpoints."""
        return f"rssi-{self.stage}"


def read_context(file: Path = ROOT / "cdk.json") -> Mapping[str, object]:
    """The CDK's context: of cdk.json and, over it, of the CDK's command line.

    The command line hands over its `-c` options, and all of cdk.json's, in `CDK_CONTEXT_JSON`;
    without it, as in `python app.py`, only this function reads cdk.json.

    Raises:
        SettingsError: If either is not what it should be.
    """
    handed_over = os.environ.get(_HANDED_OVER, "{}")
    return {
        **_parse(_CdkJson, file.read_text(), file.name).context,
        **_parse(_Context, handed_over, _HANDED_OVER).root,
    }


def settings_from_context(context: Mapping[str, object]) -> StageSettings:
    """The settings of the stage that the context selects.

    Later ones win: `rssi-mlops` for all stages, `rssi-mlops.stages.STAGE`, and single context
    values `rssi-mlops:NAME`, such as `-c rssi-mlops:instance_count=2`.

    Args:
        context: The CDK context, from cdk.json and the command line.

    Raises:
        SettingsError: If a setting is missing, unknown or out of bounds.
    """
    try:
        declared = _Declared.model_validate(context.get(CONTEXT_KEY))
        stage = context.get(STAGE_KEY, declared.stage)
        return StageSettings.model_validate(
            {
                **(declared.model_extra or {}),
                **declared.stages.get(str(stage), {}),
                **_single_values(context),
                "stage": stage,
            }
        )
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


class _Context(RootModel[dict[str, object]]):
    """Context as it is handed over."""


class _CdkJson(BaseModel):
    """The part of cdk.json that is ours to read."""

    context: dict[str, object]


def _parse(model: type[_Parsed], text: str, where: str) -> _Parsed:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(
            f"The context in {where} can't be read, so nothing was synthesized: {error}"
        ) from error


class _Declared(BaseModel):
    """The form of the `rssi-mlops` context: common settings beside those of single stages."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stage: object = DEFAULT_STAGE
    stages: Mapping[str, Mapping[str, object]] = {}


def _single_values(context: Mapping[str, object]) -> dict[str, object]:
    prefix = f"{CONTEXT_KEY}:"
    return {
        key.removeprefix(prefix): value for key, value in context.items() if key.startswith(prefix)
    }


def _explain(error: ValidationError) -> str:
    problems = [
        f"  {'.'.join(map(str, detail['loc'])) or CONTEXT_KEY}: {detail['msg']}"
        for detail in error.errors()
    ]
    return "\n".join(
        [
            "The settings can't be used, so nothing was synthesized:",
            *problems,
            f'Correct them in cdk.json under "{CONTEXT_KEY}", or with -c {CONTEXT_KEY}:NAME=VALUE.',
        ]
    )
