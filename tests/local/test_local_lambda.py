"""Functions of the embedded cloud: real processes, time limits, retries and destinations."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.local_helpers import ROLE, eventually, zipped

Clients = Callable[[str], Any]
Make = Callable[..., str]
ECHO = "def handle(event, context): return event"


@pytest.fixture
def functions(client: Clients) -> Any:
    return client("lambda")


def invoke(functions: Any, arn: str, event: object = None) -> tuple[Any, str | None]:
    answer = functions.invoke(FunctionName=arn, Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def queue(client: Clients, name: str) -> tuple[str, str]:
    """URL and ARN of a new queue."""
    url = client("sqs").create_queue(QueueName=name)["QueueUrl"]
    return url, f"arn:aws:sqs:us-east-1:123456789012:{name}"


def message(client: Clients, url: str) -> Any:
    def probe() -> Any:
        answer = client("sqs").receive_message(
            QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )
        return answer.get("Messages")

    return eventually(probe)[0]


def test_a_handler_sees_its_event_context_and_environment(
    functions: Any, make_function: Make, name: str
) -> None:
    source = """
import os
def handle(event, context):
    names = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "AWS_ENDPOINT_URL", "SITE", "HOME"]
    return {
        "event": event,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "remaining": context.get_remaining_time_in_millis(),
        "environment": {name: os.environ.get(name) for name in names},
        "root": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"],
    }
"""
    arn = make_function(
        source, Timeout=20, MemorySize=256, Environment={"Variables": {"SITE": "library-1f"}}
    )
    seen, error = invoke(functions, arn, {"a": "ü"})
    assert error is None
    assert seen["event"] == {"a": "ü"}
    assert seen["name"] == f"{name}-0"
    assert seen["arn"] == arn
    assert seen["memory"] == "256"
    assert 0 < seen["remaining"] <= 20_000
    assert seen["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == f"{name}-0"
    assert seen["environment"]["AWS_REGION"] == "us-east-1"
    assert seen["environment"]["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert seen["environment"]["SITE"] == "library-1f"
    assert seen["environment"]["HOME"] is None, "nothing of this process may leak in"
    assert seen["root"] is True


def test_a_process_is_reused_and_two_run_at_once_at_most(
    functions: Any, make_function: Make
) -> None:
    arn = make_function(
        "import os, time\n"
        "def handle(event, context):\n"
        "    time.sleep(event)\n"
        "    return os.getpid()"
    )
    first, _ = invoke(functions, arn, 0)
    again, _ = invoke(functions, arn, 0)
    assert first == again
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: invoke(functions, arn, 0.1)[0], range(6)))
    assert len(set(answers)) == 2


def test_reserved_concurrency_of_one_lets_no_two_run_at_once(
    functions: Any, make_function: Make, name: str
) -> None:
    arn = make_function("import os\ndef handle(event, context): return os.getpid()")
    functions.put_function_concurrency(FunctionName=arn, ReservedConcurrentExecutions=1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: invoke(functions, arn)[0], range(8)))
    assert len(set(answers)) == 1


def test_an_exception_is_a_function_error_with_its_type(
    functions: Any, make_function: Make
) -> None:
    arn = make_function("def handle(event, context): raise ValueError('no such site')")
    answer, error = invoke(functions, arn)
    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("ValueError", "no such site")


def test_an_import_that_fails_is_a_function_error_that_names_it(
    functions: Any, make_function: Make
) -> None:
    arn = make_function("import nothing_of_that_name")
    answer, error = invoke(functions, arn)
    assert error == "Unhandled"
    assert answer["errorType"] == "Runtime.ImportModuleError"
    assert "nothing_of_that_name" in answer["errorMessage"]


def test_a_handler_over_its_time_limit_is_stopped_and_the_next_event_gets_a_new_process(
    functions: Any, make_function: Make
) -> None:
    arn = make_function("import time\ndef handle(event, context): time.sleep(event)\n", Timeout=1)
    answer, error = invoke(functions, arn, 60)
    assert error == "Unhandled"
    assert "Task timed out after 1.00 seconds" in answer["errorMessage"]
    assert invoke(functions, arn, 0) == (None, None)


def test_a_process_that_dies_fails_its_event_and_the_next_gets_a_new_process(
    functions: Any, make_function: Make
) -> None:
    arn = make_function(
        "import os, signal\n"
        "def handle(event, context):\n"
        "    if event: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'alive'"
    )
    answer, error = invoke(functions, arn, "die")
    assert error == "Unhandled"
    assert answer["errorType"] == "Runtime.ExitError"
    assert "signal 9" in answer["errorMessage"]
    assert invoke(functions, arn, "") == ("alive", None)


def test_an_event_is_tried_three_times_and_then_sent_to_the_on_failure_destination(
    client: Clients, functions: Any, make_function: Make, name: str, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    arn = make_function(
        f"def handle(event, context):\n"
        f"    open({str(tries)!r}, 'a').write('x')\n"
        f"    raise RuntimeError('always')"
    )
    url, queue_arn = queue(client, name)
    functions.put_function_event_invoke_config(
        FunctionName=arn, DestinationConfig={"OnFailure": {"Destination": queue_arn}}
    )
    answer = functions.invoke(FunctionName=arn, InvocationType="Event", Payload=b'{"n": 1}')
    assert answer["StatusCode"] == 202
    record = json.loads(message(client, url)["Body"])
    assert tries.read_text() == "xxx"
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestContext"]["functionArn"] == f"{arn}:$LATEST"
    assert record["requestPayload"] == {"n": 1}
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "always"


def test_a_killed_process_is_retried_like_any_failure(
    client: Clients, functions: Any, make_function: Make, name: str, tmp_path: Path
) -> None:
    arn = make_function(
        "import os, pathlib, signal\n"
        "def handle(event, context):\n"
        "    mark = pathlib.Path(event)\n"
        "    if not mark.exists():\n"
        "        mark.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    mark.with_name('done').touch()"
    )
    payload = json.dumps(str(tmp_path / "mark")).encode()
    functions.invoke(FunctionName=arn, InvocationType="Event", Payload=payload)
    eventually((tmp_path / "done").exists)


def test_without_retries_the_dead_letter_queue_gets_the_event_itself(
    client: Clients, functions: Any, make_function: Make, name: str
) -> None:
    url, queue_arn = queue(client, name)
    arn = make_function(
        "def handle(event, context): raise KeyError('gone')",
        DeadLetterConfig={"TargetArn": queue_arn},
    )
    functions.put_function_event_invoke_config(FunctionName=arn, MaximumRetryAttempts=0)
    functions.invoke(FunctionName=arn, InvocationType="Event", Payload=b'{"n": 2}')
    dead = message(client, url)
    assert json.loads(dead["Body"]) == {"n": 2}
    assert "gone" in dead["MessageAttributes"]["ErrorMessage"]["StringValue"]


def test_a_rule_invokes_a_function_that_permits_it_and_a_bus_hears_of_the_success(
    client: Clients, functions: Any, make_function: Make, name: str
) -> None:
    url, queue_arn = queue(client, name)
    arn = make_function(ECHO)
    bus = client("events").create_event_bus(Name=name)["EventBusArn"]
    rule = client("events").put_rule(
        Name=name, EventBusName=name, EventPattern='{"source": ["test"]}'
    )["RuleArn"]
    functions.add_permission(
        FunctionName=arn,
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    functions.put_function_event_invoke_config(
        FunctionName=arn, DestinationConfig={"OnSuccess": {"Destination": bus}}
    )
    client("events").put_targets(
        Rule=name, EventBusName=name, Targets=[{"Id": "function", "Arn": arn}]
    )
    client("events").put_rule(
        Name="results", EventBusName=name, EventPattern='{"source": ["lambda"]}'
    )
    client("events").put_targets(
        Rule="results", EventBusName=name, Targets=[{"Id": "queue", "Arn": queue_arn}]
    )
    client("events").put_events(
        Entries=[{"Source": "test", "DetailType": "T", "Detail": '{"n": 3}', "EventBusName": name}]
    )
    event = json.loads(message(client, url)["Body"])
    assert event["detail-type"] == "Lambda Function Invocation Result - Success"
    assert event["detail"]["responsePayload"]["detail"] == {"n": 3}


def test_what_a_handler_prints_is_in_its_log_group(
    client: Clients, functions: Any, make_function: Make, name: str
) -> None:
    arn = make_function("def handle(event, context): print('hällo', event)")
    invoke(functions, arn, 7)

    def lines() -> list[str] | None:
        try:
            found = client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}-0")
        except ClientError:
            return None
        texts = [each["message"] for each in found["events"]]
        return texts if any(text.startswith("REPORT") for text in texts) else None

    texts = eventually(lines)
    assert texts[0].startswith("START RequestId: ")
    assert "hällo 7" in texts


def test_new_code_and_configuration_take_the_place_of_the_old(
    functions: Any, make_function: Make
) -> None:
    arn = make_function("import os\ndef handle(event, context): return os.environ.get('A')")
    assert invoke(functions, arn) == (None, None)
    functions.update_function_configuration(
        FunctionName=arn, Environment={"Variables": {"A": "new"}}
    )
    assert invoke(functions, arn) == ("new", None)
    described = functions.get_function_configuration(FunctionName=arn)
    assert described["Environment"]["Variables"] == {"A": "new"}
    assert described["State"] == "Active"


def test_code_may_come_from_s3(client: Clients, functions: Any, name: str) -> None:
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="code.zip", Body=zipped("pkg/source.py", ECHO))
    functions.create_function(
        FunctionName=name,
        Role=ROLE,
        Runtime="python3.11",
        Handler="pkg.source.handle",
        Code={"S3Bucket": name, "S3Key": "code.zip"},
    )
    assert invoke(functions, name, [1]) == ([1], None)
    functions.delete_function(FunctionName=name)
    with pytest.raises(ClientError, match="Function not found"):
        invoke(functions, name)


def test_a_name_that_exists_is_a_conflict(functions: Any, make_function: Make, name: str) -> None:
    make_function(ECHO)
    with pytest.raises(ClientError, match="Function already exist") as refused:
        functions.create_function(
            FunctionName=f"{name}-0",
            Role=ROLE,
            Runtime="python3.11",
            Handler="source.handle",
            Code={"ZipFile": b"no zip"},
        )
    assert refused.value.response["Error"]["Code"] == "ResourceConflictException"


def test_a_deleted_function_leaves_no_process(client: Clients, functions: Any, name: str) -> None:
    functions.create_function(
        FunctionName=name,
        Role=ROLE,
        Runtime="python3.11",
        Handler="source.handle",
        Code={"ZipFile": zipped("source.py", "import os\ndef handle(*_): return os.getpid()")},
    )
    pid, _ = invoke(functions, name)
    functions.delete_function(FunctionName=name)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
