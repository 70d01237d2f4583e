"""The OpenAPI document of the container, served at ``/openapi.json``.

Tests send what it allows, and much that it doesn't, and check the responses against it.
"""

from typing import Any

# JSON of the document; only served, never read by other code.
Document = dict[str, Any]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "problems"],
            "properties": {
                "message": {"type": "string"},
                "problems": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["row", "column", "problem"],
                        "properties": {
                            "row": {"type": ["integer", "null"], "minimum": 0},
                            "column": {"type": ["string", "null"]},
                            "problem": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
_DBM = {"type": ["number", "null"], "description": "dBm; null, 0, 100, -200: not heard"}
_FINGERPRINT = {"type": "object", "additionalProperties": _DBM, "description": "beacon to dBm"}
_INSTANCES = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [_FINGERPRINT, {"type": "array", "items": _DBM}]},
        },
        "parameters": {
            "type": "object",
            "required": ["top_k"],
            "additionalProperties": False,
            "properties": {"top_k": {"type": "integer", "minimum": 1, "maximum": 20}},
        },
    },
}
_CONFIDENCE = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "how often the very location is right where the model is as sure as here",
}
_CELL = {
    "type": "object",
    "required": ["location", "confidence"],
    "properties": {
        "location": {"type": "string"},
        "confidence": _CONFIDENCE,
    },
}
_PREDICTION = {
    "type": "object",
    "required": ["location", "x", "y", "confidence"],
    "properties": {
        "location": {"type": "string"},
        "x": {"type": ["number", "null"], "description": "metres"},
        "y": {"type": ["number", "null"], "description": "metres"},
        "confidence": _CONFIDENCE,
        "radius_m": {"type": ["number", "null"], "minimum": 0, "description": "of the error"},
        "floor": {
            "type": ["string", "null"],
            "description": "of the location; only where the site's surveys name floors",
        },
        "building": {
            "type": ["string", "null"],
            "description": "of the location; only where the site's surveys name buildings",
        },
        "top": {"type": "array", "items": _CELL},
    },
}
_ANSWER = {
    "type": "object",
    "required": ["schema_version", "release", "digest", "predictions"],
    "properties": {
        "schema_version": {"const": 1},
        "release": {"type": "string"},
        "digest": {"type": "string"},
        "predictions": {"type": "array", "items": _PREDICTION},
    },
}
_LOAD = {
    "type": "object",
    "required": ["model_name", "url"],
    "properties": {
        "model_name": {"type": "string", "minLength": 1},
        "url": {"type": "string", "minLength": 1, "description": "where the bundle lies"},
    },
}
_MODEL = {
    "type": "object",
    "required": ["modelName", "modelUrl"],
    "properties": {"modelName": {"type": "string"}, "modelUrl": {"type": "string"}},
}
_PAGE = {
    "type": "object",
    "required": ["models"],
    "properties": {
        "models": {"type": "array", "items": _MODEL},
        "nextPageToken": {"type": "string", "description": "the next page's next_page_token"},
    },
}
_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADERS = {
    "X-Amzn-SageMaker-Custom-Attributes": {
        "description": "release, digest, and what the request had there",
        "schema": {"type": "string"},
    },
    "X-Rssi-Unknown-Beacons": {
        "description": "names of beacons that the model does not know and left out",
        "schema": {"type": "integer"},
    },
}


def openapi_document(*, multi_model: bool = False) -> Document:
    """The document of a server of one model or of many."""
    ping = {"get": {"responses": {"200": _json("healthy", {"type": "object"}), **_unavailable()}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "rssi-mlops serving", "version": "1"},
        "paths": {
            "/ping": ping,
            **(_multi_model_paths() if multi_model else _single_model_paths()),
        },
    }


def _single_model_paths() -> Document:
    return {"/invocations": {"post": _invocation()}}


def _multi_model_paths() -> Document:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    missing = {"404": _json("it is not loaded", _ERROR)}
    found = {"200": _json("name and url", _MODEL), **missing}
    loading = {
        "200": _json("it is loaded", _MODEL),
        "400": _json("no such request, or no bundle that may be served", _ERROR),
        "409": _json("it is loaded already", _ERROR),
        "413": _json("a body above 6 MiB", _ERROR),
        "507": _json("it can't fit into memory", _ERROR),
    }
    body = {"required": True, "content": {"application/json": {"schema": _LOAD}}}
    size = {"type": "integer", "minimum": 1, "maximum": 100}
    invocation = _invocation()
    invocation["parameters"].append(name)
    invocation["responses"] |= missing
    return {
        "/models": {
            "get": {
                "parameters": [
                    {"name": "page_size", "in": "query", "schema": size},
                    {"name": "next_page_token", "in": "query", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": _json("a page of the models, by name", _PAGE),
                    "400": _json("no such page", _ERROR),
                },
            },
            "post": {"requestBody": body, "responses": loading},
        },
        "/models/{name}": {
            "get": {"parameters": [name], "responses": found},
            "delete": {
                "parameters": [name],
                "responses": {"200": _json("it is unloaded", {"type": "object"}), **missing},
            },
        },
        "/models/{name}/invoke": {"post": invocation},
    }


def _invocation() -> Document:
    refusals = {
        "400": "a body or header that can't be answered",
        "406": "none of the accepted types can be given",
        "413": "a body above 6 MiB",
        "415": "a content type or encoding that is not taken",
    }
    return {
        "parameters": [
            {
                "name": "X-Amzn-SageMaker-Custom-Attributes",
                "in": "header",
                "description": "echoed; top_k=3 in it asks for the three likeliest cells",
                "schema": {"type": "string", "pattern": "^[a-z ]*$", "maxLength": 200},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [_INSTANCES, _FINGERPRINT]}},
                "text/csv": _TEXT,
                "application/x-npy": _BINARY,
                "application/jsonlines": _TEXT,
            },
        },
        "responses": {
            "200": {
                "description": "an answer for each row, in order",
                "headers": _HEADERS,
                "content": {
                    "application/json": {"schema": _ANSWER},
                    "text/csv": _TEXT,
                    "application/x-npy": _BINARY,
                    "application/jsonlines": _TEXT,
                },
            },
            **{status: _json(meaning, _ERROR) for status, meaning in refusals.items()},
            **_unavailable(),
        },
    }


def _unavailable() -> Document:
    return {"503": _json("there is no model that answers rightly", _ERROR)}


def _json(description: str, schema: Document) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
