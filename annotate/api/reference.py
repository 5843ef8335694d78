"""The OpenAPI document, arranged for people: operations by what they are about, each with its fields and an example."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.utils.safestring import SafeString

from annotate.text.markdown import render as render_markdown

METHODS = ("get", "post", "put", "patch", "delete")
DEEPEST = 6  # levels of nested objects in an example

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    name: str
    type: str
    text: str
    required: bool
    where: str = "body"


@dataclass(frozen=True)
class Answer:
    status: str
    text: str
    example: str


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    text: SafeString  # HTML
    scope: str
    fields: list[Field]
    request: str  # an example, as JSON
    answers: list[Answer]
    refusals: str


@dataclass(frozen=True)
class Section:
    name: str
    operations: list[Operation] = field(default_factory=list)


def sections_of(schema: Schema) -> list[Section]:
    """In the order of the document: what it is about → its operations."""
    sections: dict[str, Section] = {}
    for path, methods in schema["paths"].items():
        for method in METHODS:
            if method in methods:
                name = methods[method]["tags"][0]
                sections.setdefault(name, Section(name)).operations.append(_operation(schema, method, path, methods[method]))
    return list(sections.values())


def _operation(schema: Schema, method: str, path: str, given: Schema) -> Operation:
    text, _, scope = given.get("description", "").rpartition("Scope: ")
    body = _content(given.get("requestBody", {}))
    parameters = [
        Field(each["name"], _type(schema, each["schema"]), each.get("description", ""), each.get("required", False), each["in"])
        for each in given.get("parameters", [])
        if each["in"] != "path"
    ]
    answers = given["responses"].items()
    return Operation(
        id=given["operationId"],
        method=method.upper(),
        path=path,
        summary=given.get("summary", ""),
        text=render_markdown(text, breaks=False),
        scope=scope.strip("`."),
        fields=[*_fields(schema, body.get("schema", {})), *parameters],
        request=_example(schema, body),
        answers=[
            Answer(status, each.get("description", ""), _example(schema, _content(each)))
            for status, each in answers
            if status < "300"
        ],
        refusals=", ".join(status for status, _ in answers if status >= "300"),
    )


def _content(body: Schema) -> Schema:
    return next(iter(body.get("content", {}).values()), {})


def _fields(schema: Schema, given: Schema) -> list[Field]:
    found = _resolve(schema, given)
    return [
        Field(name, _type(schema, each), each.get("description", ""), name in found.get("required", []))
        for name, each in found.get("properties", {}).items()
    ]


def _resolve(schema: Schema, given: Schema) -> Schema:
    if "$ref" in given:
        return schema["components"]["schemas"][given["$ref"].rpartition("/")[2]]
    if len(given.get("allOf", [])) == 1:
        return _resolve(schema, given["allOf"][0]) | {key: value for key, value in given.items() if key != "allOf"}
    return given


def _type(schema: Schema, given: Schema) -> str:
    found = _resolve(schema, given)
    if "enum" in found:
        return " | ".join(json.dumps(each) for each in found["enum"])
    if found.get("type") == "array":
        return f"list of {_type(schema, found.get('items', {}))}"
    if "oneOf" in found or "anyOf" in found:
        return " or ".join(dict.fromkeys(_type(schema, each) for each in found.get("oneOf") or found["anyOf"]))
    name = found.get("format") or found.get("type") or "anything"
    return {"uuid": "UUID", "double": "number", "date-time": "time", "int64": "integer"}.get(name, name)


def _example(schema: Schema, content: Schema) -> str:
    """The first one that is given, else one made from the types. "" where there is no JSON."""
    for each in content.get("examples", {}).values():
        return _dump(each["value"])
    return _dump(_made(schema, content["schema"])) if content.get("schema") else ""


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _made(schema: Schema, given: Schema, depth: int = 0) -> Any:
    found = _resolve(schema, given)
    for key in ("example", "default"):
        if key in found:
            return found[key]
    if "enum" in found:
        return found["enum"][0]
    if choices := found.get("oneOf") or found.get("anyOf"):
        return _made(schema, choices[0], depth)
    if found.get("type") == "array":
        return [_made(schema, found.get("items", {}), depth + 1)] if depth < DEEPEST else []
    if properties := found.get("properties"):
        return {name: _made(schema, each, depth + 1) for name, each in properties.items()} if depth < DEEPEST else {}
    made = {"integer": 1, "number": 0.5, "boolean": True, "string": "…", "object": {}}
    formats = {"uuid": "0b9f9a52-2f0e-4c53-9c0c-1f6f2f5f7d11", "date-time": "2026-05-04T12:00:00Z", "binary": "(a file)"}
    return formats.get(found.get("format", "")) or made.get(found.get("type", ""))
