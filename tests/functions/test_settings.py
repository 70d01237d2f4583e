"""Each function's environment: all of it is needed, and all of it is read."""

import ast
import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError

from functions import services
from functions.settings import SETTINGS_OF_FUNCTION, CreateModelSettings
from tests.functions.conftest import SETTINGS

ENVIRONMENT = {
    str(field.alias): str(getattr(SETTINGS, name))
    for name, field in type(SETTINGS).model_fields.items()
}
SOURCES = Path(services.__file__).parent


def attributes_read(source: str) -> set[str]:
    """Names that follow ``settings.`` in some code."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and "settings" in (getattr(node.value, "attr", ""), getattr(node.value, "id", ""))
    }


@pytest.mark.parametrize("function", SETTINGS_OF_FUNCTION)
def test_every_setting_is_read(function):
    own = attributes_read((SOURCES / f"{function}.py").read_text())
    shared = attributes_read(inspect.getsource(services))

    assert set(SETTINGS_OF_FUNCTION[function].model_fields) <= own | shared


@pytest.mark.parametrize("function", SETTINGS_OF_FUNCTION)
def test_a_missing_variable_is_named(function, monkeypatch):
    model = SETTINGS_OF_FUNCTION[function]
    for name in model.variables():
        environment = {other: ENVIRONMENT[other] for other in model.variables() if other != name}
        with pytest.raises(ValidationError, match=name):
            model.model_validate(environment)


def test_an_empty_image_does_not_pass_a_cold_start(monkeypatch):
    for name, value in (ENVIRONMENT | {"RSSI_SERVING_IMAGE": ""}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match="RSSI_SERVING_IMAGE"):
        CreateModelSettings.from_environment()
