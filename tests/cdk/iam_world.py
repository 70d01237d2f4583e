"""A small judge over IAM policies, and a fake AWS that asks it before it answers.

Knows Allow statements with exact and wildcard names and the two conditions that our policies use;
whatever else it meets is an error, never a permission.
"""

import fnmatch
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

ACCOUNT = "123456789012"
REGION = "eu-west-1"

_PSEUDO = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
_SQS = "AmazonSQS."
_OBJECTS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}


class Request(NamedTuple):
    """One action on one resource, with the condition keys that it has."""

    action: str
    resource: str
    keys: Mapping[str, str] = {}


@dataclass
class Judge:
    """Says what one identity's statements allow; remembers what was asked."""

    statements: Sequence[Mapping[str, Any]]
    asked: list[tuple[Request, bool]] = field(default_factory=list)

    def allows(self, request: Request) -> bool:
        verdict = any(_matches(statement, request) for statement in self.statements)
        self.asked.append((request, verdict))
        return verdict

    @property
    def denied(self) -> list[Request]:
        return [request for request, allowed in self.asked if not allowed]

    @property
    def used(self) -> set[str]:
        return {request.action for request, allowed in self.asked if allowed}

    @property
    def granted(self) -> set[str]:
        return {action for one in self.statements for action in as_list(one["Action"])}


def _matches(statement: Mapping[str, Any], request: Request) -> bool:
    assert statement["Effect"] == "Allow"
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    return (
        _any(as_list(statement["Action"]), request.action)
        and _any(as_list(statement["Resource"]), request.resource)
        and all(
            _holds(operator, keys, request)
            for operator, keys in statement.get("Condition", {}).items()
        )
    )


def _holds(operator: str, keys: Mapping[str, object], request: Request) -> bool:
    """A key that the request has not is no match: so says IAM of operators without IfExists."""
    match = {"StringLike": _any, "StringEquals": lambda values, value: value in values}[operator]
    return all(
        key in request.keys and match(as_list(values), request.keys[key])
        for key, values in keys.items()
    )


def _any(patterns: Iterable[str], value: str) -> bool:
    return any(fnmatch.fnmatchcase(value, re.sub(r"\[", "[[]", pattern)) for pattern in patterns)


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolve(value: Any, names: Mapping[str, Mapping[str, str]]) -> Any:
    """A template's value with its references replaced.

    Args:
        value: any part of the template.
        names: by logical id: ``Ref`` and attributes of the resource as it is called in fact.
    """
    match value:
        case {"Ref": str(name)}:
            return _PSEUDO[name] if name in _PSEUDO else names[name]["Ref"]
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return names[name][attribute]
        case {"Fn::Join": [str(glue), [*parts]]}:
            return glue.join(resolve(part, names) for part in parts)
        case dict():
            return {key: resolve(part, names) for key, part in value.items()}
        case list():
            return [resolve(part, names) for part in value]
    return value


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def judged(application: Application, judge: Judge, access_key: str) -> Application:
    """A WSGI application that lets one access key do only what the judge allows.

    Who may not list the whole bucket gets 403 for an object that is missing, as S3 does it.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if f"Credential={access_key}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return application(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        requests = list(requests_of(environ, body))
        verdicts = [judge.allows(request) for request in requests]
        if not all(verdicts):
            return _refuse(environ, requests[0], start_response)
        answered: list[Any] = []
        content = [*application(environ, lambda *said: answered.extend(said))]
        if answered[0].startswith("404") and _hides_missing(judge, requests[0]):
            return _refuse(environ, requests[0], start_response)
        start_response(*answered)
        return content

    return answer


def _hides_missing(judge: Judge, request: Request) -> bool:
    listing = Request("s3:ListBucket", request.resource.split("/")[0])
    reads = request.action.startswith("s3:GetObject")
    return reads and not any(_matches(statement, listing) for statement in judge.statements)


def requests_of(environ: Mapping[str, Any], body: bytes) -> Iterator[Request]:
    """What IAM is asked about one HTTP request."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target.startswith(_SQS):
        # IamPermission to do a thing is permission to do it in a batch.
        action = target.removeprefix(_SQS).removesuffix("Batch")
        yield _of_queue(f"sqs:{action}", json.loads(body))
    elif target == "AmazonSSM.GetParameter":
        name = json.loads(body)["Name"]
        yield Request("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}")
    elif target == "AWSEvents.PutEvents":
        for entry in json.loads(body)["Entries"]:
            bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{entry['EventBusName']}"
            yield Request("events:PutEvents", bus, {"events:source": entry["Source"]})
    else:
        assert not target, f"what is {target}?"
        yield _of_store(environ)


def _of_queue(action: str, asked: Mapping[str, str]) -> Request:
    name = asked.get("QueueName") or asked["QueueUrl"].rsplit("/", 1)[-1]
    return Request(action, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")


def _of_store(environ: Mapping[str, Any]) -> Request:
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    path = unquote(environ["PATH_INFO"].encode("latin-1").decode())
    bucket, _, key = path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    if not key:
        keys = {"s3:prefix": query["prefix"]} if "prefix" in query else {}
        action = "s3:ListBucketVersions" if "versions" in query else "s3:ListBucket"
        return Request(action, arn, keys)
    action = _OBJECTS[environ["REQUEST_METHOD"]]
    if "versionId" in query:
        action = "s3:GetObjectVersion"
    return Request(action, f"{arn}/{key}")


def _refuse(
    environ: Mapping[str, Any], request: Request, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    why = f"not authorized to perform: {request.action} on resource: {request.resource}"
    if request.action.startswith("s3:"):
        body = f"<Error><Code>AccessDenied</Code><Message>{why}</Message></Error>".encode()
        kind = "application/xml"
    else:
        body = json.dumps({"__type": "AccessDeniedException", "message": why}).encode()
        kind = "application/x-amz-json-1.1"
    start_response("403 Forbidden", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
