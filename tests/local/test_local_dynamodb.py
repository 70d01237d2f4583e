"""DynamoDB in the embedded cloud: what the ledger's fenced writes stand on."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from functions.adapters.ledger import Ledger
from functions.core.deployments import Change, SiteState

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_writers_at_once_lose_nothing(client, name):
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )
    ledger = Ledger(dynamodb, name)

    def count(state: SiteState, _: datetime) -> Change:
        return Change(state.model_copy(update={"next_number": state.next_number + 1}))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ledger.change("lab", count, NOW), range(60)))

    state = ledger.state("lab")
    assert state.next_number == 61
    assert state.version == 60
