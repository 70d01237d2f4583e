"""Event patterns, against the examples of the EventBridge guide and the rules in contracts.md."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.errors import InvalidEventPatternError
from ops.local.events.event_pattern import EventPattern


def matches(pattern: object, event: Any) -> bool:
    return EventPattern(json.dumps(pattern)).matches(event)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (["a"], "a", True),
        (["a"], "b", False),
        (["a", "b"], "b", True),
        (["a"], ["x", "a"], True),
        (["a"], [], False),
        ([None], None, True),
        ([None], "", False),
        ([""], "", True),
        ([5], 5, True),
        ([5], 5.0, True),
        ([5.0], 5, True),
        ([5], "5", False),
        ([1], True, False),
        ([0], False, False),
        ([True], True, True),
        ([True], 1, False),
        (["a"], {"a": 1}, False),
        ([{"prefix": "si"}], "sites", True),
        ([{"prefix": "si"}], "Sites", False),
        ([{"prefix": {"equals-ignore-case": "SI"}}], "sites", True),
        ([{"prefix": "5"}], 55, False),
        ([{"suffix": ".csv"}], "a.csv", True),
        ([{"suffix": ".csv"}], "a.CSV", False),
        ([{"suffix": {"equals-ignore-case": ".csv"}}], "a.CSV", True),
        ([{"wildcard": "sites/*/surveys/*"}], "sites/a b/surveys/c/d\n.csv", True),
        ([{"wildcard": "sites/*/surveys/*"}], "sites/a/releases/b", False),
        ([{"wildcard": "a\\*b"}], "a*b", True),
        ([{"wildcard": "a\\*b"}], "axb", False),
        ([{"wildcard": "a\\\\b"}], "a\\b", True),
        ([{"wildcard": "a.c"}], "abc", False),
        ([{"equals-ignore-case": "ALICE"}], "alice", True),
        ([{"equals-ignore-case": "alice"}], "alic", False),
        ([{"numeric": [">", 0, "<=", 5]}], 5, True),
        ([{"numeric": [">", 0, "<=", 5]}], 0, False),
        ([{"numeric": ["=", 5]}], 5.0, True),
        ([{"numeric": [">", 0]}], "5", False),
        ([{"numeric": [">", 0]}], True, False),
        ([{"cidr": "10.0.0.0/24"}], "10.0.0.255", True),
        ([{"cidr": "10.0.0.0/24"}], "10.0.1.0", False),
        ([{"cidr": "2001:db8::/64"}], "2001:db8::1", True),
        ([{"cidr": "10.0.0.0/24"}], "not an address", False),
        ([{"anything-but": "a"}], "b", True),
        ([{"anything-but": "a"}], "a", False),
        ([{"anything-but": ["a", "b"]}], "b", False),
        ([{"anything-but": [1, 2]}], 3, True),
        ([{"anything-but": [1, 2]}], 1.0, False),
        ([{"anything-but": {"prefix": "a"}}], "ab", False),
        ([{"anything-but": {"prefix": ["a", "b"]}}], "bc", False),
        ([{"anything-but": {"prefix": ["a", "b"]}}], "cb", True),
        ([{"anything-but": {"suffix": ".tmp"}}], "a.csv", True),
        ([{"anything-but": {"wildcard": "*/tmp/*"}}], "a/tmp/b", False),
        ([{"anything-but": {"equals-ignore-case": ["A", "b"]}}], "B", False),
        ([{"exists": True}], "x", True),
        ([{"exists": True}], None, True),
        ([{"exists": False}], "x", False),
        ([{"exists": True}], {"nested": 1}, False),
        ([{"prefix": "b"}, "a"], "a", True),
    ],
)
def test_a_value_matches_or_does_not(rule: object, value: object, *, expected: bool) -> None:
    assert matches({"detail": {"field": rule}}, {"detail": {"field": value}}) is expected


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        ({"a": [1], "b": [2]}, {"a": 1, "b": 2}, True),
        ({"a": [1], "b": [2]}, {"a": 1, "b": 3}, False),
        ({"a": [1]}, {}, False),
        ({"a": [{"anything-but": 1}]}, {}, False),
        ({"a": [{"exists": False}]}, {}, True),
        ({"a": {"b": [{"exists": False}]}}, {}, True),
        ({"a": {"b": [{"exists": False}]}}, {"a": {"c": 1}}, True),
        ({"a": {"b": [{"exists": False}]}}, {"a": {"b": 1}}, False),
        ({"a": {"b": [1]}}, {"a": [{"b": 2}, {"b": 1}]}, True),
        ({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1, "c": 3}, {"b": 4, "c": 2}]}, False),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, {"b": 2}, True),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, {"a": 2, "b": 1}, False),
        ({"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}, {"b": 2}, False),
        ({"d": {"$or": [{"a": [1]}, {"b": [{"prefix": "x"}]}]}}, {"d": {"b": "xy"}}, True),
    ],
)
def test_fields_combine(pattern: object, event: object, *, expected: bool) -> None:
    assert matches(pattern, event) is expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ({"a": [{"starts-with": "x"}]}, "Unrecognized match type starts-with at a"),
        ({"d": {"a": [{"prefix": 5}]}}, "prefix wants a non-empty string at d.a"),
        ({"a": "x"}, '"a" must be an object or an array'),
        ({"a": []}, "an empty array is not allowed at a"),
        ({"a": {}}, "an empty object is not allowed at a"),
        ({}, "an empty object is not allowed"),
        ([], "it must be a JSON object"),
        ({"a": [["x"]]}, "arrays can't be nested at a"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, "only one operator"),
        ({"a": [{"exists": "yes"}]}, "exists must be true or false"),
        ({"a": [{"numeric": [">"]}]}, "numeric wants one or two comparisons"),
        ({"a": [{"numeric": ["~", 1]}]}, "Unrecognized numeric range operator ~"),
        ({"a": [{"numeric": [">", True]}]}, "numeric wants a number"),
        ({"a": [{"cidr": "10.0.0.0/99"}]}, "10.0.0.0/99"),
        ({"a": [{"wildcard": "a**b"}]}, "consecutive wildcards"),
        ({"a": [{"wildcard": "a\\b"}]}, "a backslash may escape"),
        ({"a": [{"anything-but": {"numeric": ["=", 1]}}]}, "Unsupported anything-but pattern"),
        ({"a": [{"anything-but": []}]}, "anything-but wants values"),
        ({"$or": []}, r"\$or must be a non-empty array"),
        ({"$or": ["x"]}, r"\$or must hold objects only"),
    ],
)
def test_a_pattern_that_eventbridge_would_refuse_is_refused(pattern: object, reason: str) -> None:
    with pytest.raises(InvalidEventPatternError, match=reason):
        EventPattern(json.dumps(pattern))


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)


@given(scalars)
def test_every_value_matches_itself_and_not_anything_but_itself(value: Any) -> None:
    assert matches({"a": [value]}, {"a": value})
    assert not matches({"a": [{"anything-but": value}]}, {"a": value})


@given(scalars, st.lists(scalars, min_size=1, max_size=4))
def test_an_array_matches_exactly_if_one_of_its_values_does(wanted: Any, values: list[Any]) -> None:
    assert matches({"a": [wanted]}, {"a": values}) is any(
        matches({"a": [wanted]}, {"a": value}) for value in values
    )


@given(st.text(alphabet="ab*\\", max_size=6), st.text(alphabet="ab*\\", max_size=6))
def test_a_wildcard_of_escaped_text_is_prefix_and_suffix(head: str, tail: str) -> None:
    escaped = [text.replace("\\", "\\\\").replace("*", "\\*") for text in (head, tail)]
    pattern = {"a": [{"wildcard": "*".join(escaped)}]}
    assert matches(pattern, {"a": head + "b*\\a" + tail})
    assert matches(pattern, {"a": head + tail})
    assert not matches(pattern, {"a": "c" + head + tail}) or not head
