"""The ledger in DynamoDB: releases, deployments and what is live, per site.

A site's state changes only in a transaction that is conditional on its version, together with the
records of the changed deployments and the trigger that opened one. Items of one site share
the partition ``site#SITE``: ``state``, ``release#RUN``, ``deployment#NUMBER``, ``trigger#TRIGGER``.
The partition ``sites`` lists the sites.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from events.base import Contract
from events.triggers import Trigger
from functions.core.deployments import (
    Change,
    Deployment,
    SiteState,
    StateChange,
)
from functions.core.errors import ContentionError
from functions.core.releases import ReleaseRecord

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, TransactWriteItemTypeDef

ATTEMPTS = 12
Item = dict[str, dict[str, str]]


class Ledger:
    """Reads and fenced writes of the ledger's table."""

    def __init__(
        self, client: "DynamoDBClient", table: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._dynamodb = client
        self._table = table
        self._sleep = sleep

    def state(self, site: str) -> SiteState:
        """The site's state; that of a new site if nothing is known of it."""
        body = self._read(f"site#{site}", "state")
        return SiteState(site=site) if body is None else SiteState.model_validate_json(body)

    def change(self, site: str, transition: StateChange, now: datetime) -> SiteState:
        """Apply a transition to the site's state, atomically, and return the state after it.

        A transition that changes nothing writes nothing; nor does one whose trigger opened a
        deployment before. The transition may be called several times and must be pure.

        Raises:
            ContentionError: others changed the state each time.
        """
        for attempt in range(ATTEMPTS):
            before = self.state(site)
            change = transition(before, now)
            if change.state == before or self._is_known(site, change.trigger):
                return before
            after = change.state.model_copy(update={"version": before.version + 1})
            try:
                self._write(before, after, change)
            except self._dynamodb.exceptions.TransactionCanceledException:
                self._sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 6)))  # noqa: S311  # jitter
            else:
                return after
        raise ContentionError(
            f"the ledger's state of {site} changed {ATTEMPTS} times under this step; "
            "nothing was written, and the step will be repeated"
        )

    def release(self, site: str, run_id: str) -> ReleaseRecord | None:
        """What is known of a release."""
        body = self._read(f"site#{site}", f"release#{run_id}")
        return None if body is None else ReleaseRecord.model_validate_json(body)

    def remember(self, record: ReleaseRecord) -> None:
        """Write down what is known of a release now."""
        item = _item(f"site#{record.site}", f"release#{record.run_id}", record)
        self._dynamodb.put_item(TableName=self._table, Item=item)

    def decide(self, record: ReleaseRecord) -> bool:
        """Write down a person's decision on a release; False if there was one before."""
        item = _item(f"site#{record.site}", f"release#{record.run_id}", record)
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item | {"decided": {"S": record.verdict.value}},
                ConditionExpression="attribute_not_exists(decided)",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def sites(self) -> list[str]:
        """Every site that a deployment was ever opened at, in order."""
        return [item["sk"]["S"] for item in self._all("sites", "")]

    def releases(self, site: str) -> list[ReleaseRecord]:
        """Every release that ever arrived at a site, oldest first."""
        found = self._all(f"site#{site}", "release#")
        records = [ReleaseRecord.model_validate_json(item["body"]["S"]) for item in found]
        return sorted(records, key=lambda record: record.arrived_at)

    def deployments(self, site: str) -> list[Deployment]:
        """Every deployment at a site, oldest first."""
        found = self._all(f"site#{site}", "deployment#")
        return [Deployment.model_validate_json(item["body"]["S"]) for item in found]

    def opened_by(self, site: str, trigger: Trigger) -> Deployment | None:
        """The deployment that a trigger opened, as it was then."""
        body = self._read(f"site#{site}", f"trigger#{trigger}")
        return None if body is None else Deployment.model_validate_json(body)

    def deployment(self, site: str, number: int) -> Deployment | None:
        """A deployment as it stands now."""
        body = self._read(f"site#{site}", f"deployment#{number:08d}")
        return None if body is None else Deployment.model_validate_json(body)

    def _all(self, partition: str, prefix: str) -> "list[dict[str, AttributeValueTypeDef]]":
        condition = "pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else "")
        values = {":pk": {"S": partition}} | ({":prefix": {"S": prefix}} if prefix else {})
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        )
        return [item for page in pages for item in page["Items"]]

    def _is_known(self, site: str, trigger: Trigger | None) -> bool:
        return trigger is not None and self._read(f"site#{site}", f"trigger#{trigger}") is not None

    def _read(self, partition: str, sort: str) -> str | None:
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key={"pk": {"S": partition}, "sk": {"S": sort}},
            ConsistentRead=True,
        )
        body: str | None = answer["Item"]["body"]["S"] if "Item" in answer else None
        return body

    def _write(self, before: SiteState, after: SiteState, change: Change) -> None:
        partition = f"site#{after.site}"
        state = _item(partition, "state", after) | {"version": {"N": str(after.version)}}
        puts = [self._put(state, **_unchanged_since(before))]
        puts += [
            self._put(_item(partition, f"deployment#{deployment.number:08d}", deployment))
            for deployment in change.deployments
        ]
        if change.trigger is not None:
            item = _item(partition, f"trigger#{change.trigger}", change.deployments[0])
            puts.append(self._put(item, ConditionExpression="attribute_not_exists(pk)"))
        if before.version == 0:
            puts.append(self._put(_item("sites", after.site, SiteState(site=after.site))))
        self._dynamodb.transact_write_items(TransactItems=puts)

    def _put(self, item: Item, **condition: Any) -> "TransactWriteItemTypeDef":
        return {"Put": {"TableName": self._table, "Item": item, **condition}}  # type: ignore[typeddict-item]  # an expression and its values


def _unchanged_since(before: SiteState) -> dict[str, Any]:
    if before.version == 0:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": {":version": {"N": str(before.version)}},
    }


def _item(partition: str, sort: str, body: Contract) -> Item:
    return {"pk": {"S": partition}, "sk": {"S": sort}, "body": {"S": body.model_dump_json()}}
