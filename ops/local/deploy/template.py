"""A CloudFormation template, resolved: references, intrinsic functions, conditions, parameters.

Nothing is created here. An `Identify` knows each resource's name and attributes beforehand, which
is what references resolve to.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from ops.local.errors import AssemblyError
from ops.local.gateway.protocol import JsonObject
from ops.local.settings import CloudSettings

# Templates may read the version of `cdk bootstrap`, which this cloud does not need.
_BOOTSTRAP_VERSION = "30"
_RESOURCE_MEMBERS = frozenset(
    {
        "Type",
        "Properties",
        "Metadata",
        "DependsOn",
        "Condition",
        "DeletionPolicy",
        "UpdateReplacePolicy",
    }
)
_SUB = re.compile(r"\$\{(!?)([^}]+)\}")


class _NoValue:
    """The value of ``AWS::NoValue``: members that have it are removed."""


_NO_VALUE = _NoValue()
Resolved = JsonValue | _NoValue


@dataclass(frozen=True, slots=True)
class ResourceIdentity:
    """What references to a resource resolve to.

    Attributes:
        ref: what ``Ref`` gives, CloudFormation's physical id.
        attributes: what ``Fn::GetAtt`` gives.
    """

    ref: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TemplateResource:
    """One resource of a template."""

    logical_id: str
    type_name: str
    properties: JsonObject
    depends_on: tuple[str, ...]

    @property
    def path(self) -> str:
        """Its path in the template, for messages."""
        return f"Resources.{self.logical_id}"


Identify = Callable[[TemplateResource, "StackTemplate"], ResourceIdentity]


class StackTemplate:
    """One template, resolved for one stack.

    Args:
        content: the template.
        stack_name: the stack's name.
        settings: region and account for the pseudo parameters.
        identify: returns what references to a resource resolve to.
        exports: outputs that earlier stacks exported.

    Raises:
        AssemblyError: a condition can't be resolved, or a resource has a member that is unknown.
    """

    def __init__(
        self,
        content: JsonObject,
        stack_name: str,
        settings: CloudSettings,
        identify: Identify,
        exports: Mapping[str, str],
    ) -> None:
        self.stack_name = stack_name
        self._content = content
        self._identify = identify
        self._exports = exports
        self._identities: dict[str, ResourceIdentity] = {}
        self._resolving: set[str] = set()
        self._pseudo: dict[str, Resolved] = {
            "AWS::AccountId": settings.account_id,
            "AWS::Region": settings.region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack_name,
            "AWS::StackId": settings.arn("cloudformation", f"stack/{stack_name}/embedded"),
            "AWS::NotificationARNs": [],
            "AWS::NoValue": _NO_VALUE,
        }
        self._functions: Mapping[str, Callable[[JsonValue], Resolved]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Join": self._join,
            "Fn::Sub": self._sub,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Base64": self._base64,
            "Fn::ImportValue": self._import_value,
        }
        self.resources = {each.logical_id: each for each in self._resources()}

    def resolve(self, value: JsonValue) -> JsonValue:
        """A value with every intrinsic function replaced by its value.

        Raises:
            AssemblyError: it refers to something that is not there.
        """
        resolved = self._resolve(value)
        if isinstance(resolved, _NoValue):
            raise AssemblyError("AWS::NoValue is used where a value is needed.")
        return resolved

    def identity(self, logical_id: str) -> ResourceIdentity:
        """What references to a resource resolve to.

        Raises:
            AssemblyError: there is no such resource, or its name depends on itself.
        """
        resource = self.resources.get(logical_id)
        if resource is None:
            raise AssemblyError(f"{logical_id} is neither a resource nor a parameter.")
        if logical_id in self._resolving:
            raise AssemblyError(f"The name of {logical_id} depends on itself.")
        if logical_id not in self._identities:
            self._resolving.add(logical_id)
            self._identities[logical_id] = self._identify(resource, self)
            self._resolving.remove(logical_id)
        return self._identities[logical_id]

    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        return {name: str(self.resolve(each["Value"])) for name, each in self._outputs()}

    def exported(self) -> dict[str, str]:
        """The outputs that other stacks may import, by export name."""
        return {
            str(self.resolve(_object(each["Export"])["Name"])): str(self.resolve(each["Value"]))
            for _, each in self._outputs()
            if "Export" in each
        }

    def needs(self, resource: TemplateResource) -> set[str]:
        """Logical ids of the resources that ``resource`` depends on."""
        named = set(resource.depends_on) | set(self._references(resource.properties))
        return named & self.resources.keys()

    # --- sections

    def _section(self, name: str) -> dict[str, JsonObject]:
        section = _object(self._content.get(name, {}))
        return {key: _object(value) for key, value in section.items()}

    def _resources(self) -> Iterator[TemplateResource]:
        for logical_id, entry in self._section("Resources").items():
            unknown = sorted(entry.keys() - _RESOURCE_MEMBERS)
            if unknown:
                raise AssemblyError(
                    f"Resources.{logical_id}: {', '.join(unknown)} are not known members."
                )
            if "Condition" in entry and not self._condition(str(entry["Condition"])):
                continue
            depends_on = entry.get("DependsOn", [])
            names = depends_on if isinstance(depends_on, list) else [depends_on]
            yield TemplateResource(
                logical_id,
                str(entry["Type"]),
                _object(entry.get("Properties", {})),
                tuple(str(name) for name in names),
            )

    def _outputs(self) -> Iterator[tuple[str, JsonObject]]:
        for name, entry in self._section("Outputs").items():
            if "Condition" not in entry or self._condition(str(entry["Condition"])):
                yield name, entry

    def _condition(self, name: str) -> bool:
        conditions = self._section("Conditions")
        if name not in conditions:
            raise AssemblyError(f"There is no condition {name}.")
        return self._holds(conditions[name])

    def _holds(self, condition: JsonValue) -> bool:
        ((function, operand),) = _object(condition).items()
        if function == "Condition":
            return self._condition(str(operand))
        operands = _array(operand)
        match function:
            case "Fn::Equals":
                return self._resolve(operands[0]) == self._resolve(operands[1])
            case "Fn::And":
                return all(self._holds(each) for each in operands)
            case "Fn::Or":
                return any(self._holds(each) for each in operands)
            case "Fn::Not":
                return not self._holds(operands[0])
        raise AssemblyError(f"The condition function {function} is not known.")

    def _parameter(self, name: str) -> JsonValue:
        parameter = self._section("Parameters")[name]
        default = parameter.get("Default")
        if default is None:
            raise AssemblyError(f"Parameter {name} has no default, and no value can be given here.")
        if str(parameter["Type"]).startswith("AWS::SSM::Parameter::Value<"):
            if not str(default).startswith("/cdk-bootstrap/"):
                raise AssemblyError(f"Parameter {name} reads {default} from SSM at deployment.")
            return _BOOTSTRAP_VERSION
        return default

    # --- functions

    def _resolve(self, value: JsonValue) -> Resolved:
        if isinstance(value, list):
            return [each for each in map(self._resolve, value) if not isinstance(each, _NoValue)]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, operand),) = value.items()
            if name in self._functions:
                return self._functions[name](operand)
            if name.startswith("Fn::"):
                raise AssemblyError(f"The function {name} is not emulated.")
        members = {name: self._resolve(each) for name, each in value.items()}
        return {name: each for name, each in members.items() if not isinstance(each, _NoValue)}

    def _ref(self, operand: JsonValue) -> Resolved:
        name = str(operand)
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._section("Parameters"):
            return self._parameter(name)
        return self.identity(name).ref

    def _get_att(self, operand: JsonValue) -> Resolved:
        parts = operand if isinstance(operand, list) else str(operand).split(".", 1)
        name, attribute = str(parts[0]), str(self.resolve(parts[1]))
        attributes = self.identity(name).attributes
        if attribute not in attributes:
            raise AssemblyError(f"The attribute {name}.{attribute} is not emulated.")
        return attributes[attribute]

    def _join(self, operand: JsonValue) -> Resolved:
        separator, parts = _array(operand)
        return str(separator).join(_text(part) for part in _array(self.resolve(parts)))

    def _sub(self, operand: JsonValue) -> Resolved:
        text, names = _array(operand) if isinstance(operand, list) else (operand, {})
        values = _object(self.resolve(names))

        def replace(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in values:
                return _text(values[name])
            function = "Fn::GetAtt" if "." in name else "Ref"
            return _text(self.resolve({function: name}))

        return _SUB.sub(replace, str(text))

    def _select(self, operand: JsonValue) -> Resolved:
        index, values = _array(operand)
        return _array(self.resolve(values))[int(_text(self.resolve(index)))]

    def _split(self, operand: JsonValue) -> Resolved:
        separator, text = _array(operand)
        return [*_text(self.resolve(text)).split(str(separator))]

    def _if(self, operand: JsonValue) -> Resolved:
        condition, then, otherwise = _array(operand)
        return self._resolve(then if self._condition(str(condition)) else otherwise)

    def _find_in_map(self, operand: JsonValue) -> Resolved:
        names = [_text(self.resolve(each)) for each in _array(operand)]
        value: JsonValue = _object(self._content.get("Mappings", {}))
        for name in names:
            members = _object(value)
            if name not in members:
                raise AssemblyError(f"There is no {'.'.join(names)} in the mappings.")
            value = members[name]
        return value

    def _base64(self, operand: JsonValue) -> Resolved:
        return base64.b64encode(_text(self.resolve(operand)).encode()).decode()

    def _import_value(self, operand: JsonValue) -> Resolved:
        name = _text(self.resolve(operand))
        if name not in self._exports:
            raise AssemblyError(f"No earlier stack exports {name}.")
        return self._exports[name]

    def _references(self, value: JsonValue) -> Iterator[str]:
        """Names that a value refers to, including parameters and pseudo parameters."""
        if isinstance(value, list):
            for each in value:
                yield from self._references(each)
        elif isinstance(value, dict):
            for name, operand in value.items():
                if name in {"Ref", "Fn::GetAtt"}:
                    first = operand[0] if isinstance(operand, list) else operand
                    yield str(first).partition(".")[0]
                elif name == "Fn::Sub":
                    text = operand[0] if isinstance(operand, list) else operand
                    yield from (match[2].partition(".")[0] for match in _SUB.finditer(str(text)))
                yield from self._references(operand)


def _text(value: JsonValue) -> str:
    """A scalar as CloudFormation joins it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise AssemblyError(f"A text is needed where the template has {value!r}.")


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise AssemblyError(f"An object is needed where the template has {value!r}.")
    return value


def _array(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise AssemblyError(f"An array is needed where the template has {value!r}.")
    return value
