"""Velocity request templates as API Gateway renders them."""

import json

import pytest

from sandbox.gateway.templates import Message, render, select_template
from sandbox.gateway.velocity import TemplateFailure

ESCAPED = r"""$util.escapeJavaScript($input.path('$.data')).replaceAll("\\'","'")"""


def rendered(template: str, body: object = None, context: dict[str, object] | None = None) -> str:
    return render(template, Message(json.dumps(body)), context=context or {}, stage_variables={})


@pytest.mark.parametrize(
    "data",
    [
        "plain",
        "it's",
        'a "quote"',
        "back\\slash",
        "a/b",
        "line\nbreak\ttab",
        "é 😀 東京",
        '","subject":{"S":"somebody else"}',
    ],
)
def test_the_usual_escaping_keeps_every_text_one_json_string(data: str) -> None:
    document = rendered('{"data": "' + ESCAPED + '"}', {"data": data})

    assert json.loads(document) == {"data": data}


def test_without_the_replacement_an_apostrophe_is_no_json_as_on_aws() -> None:
    document = rendered("""{"data": "$util.escapeJavaScript($input.path('$.data'))"}""", {"data": "it's"})

    with pytest.raises(json.JSONDecodeError):
        json.loads(document)


def test_a_missing_field_and_a_missing_context_value_are_empty() -> None:
    assert rendered("[$input.path('$.nothing')][$context.authorizer.nothing]", {}) == "[][]"


def test_context_comes_from_the_service_and_not_from_the_body() -> None:
    context = {"connectionId": "abc=", "requestTimeEpoch": 12, "authorizer": {"session_id": "s-1"}}

    text = rendered("$context.connectionId $context.requestTimeEpoch $context.authorizer.session_id", {}, context)

    assert text == "abc= 12 s-1"


def test_objects_print_as_json_and_paths_reach_into_them() -> None:
    body = {"outer": {"list": [{"name": "first"}, {"name": "second"}], "flag": True}}

    assert json.loads(rendered("$input.json('$.outer')", body)) == body["outer"]
    assert rendered("$input.path('$.outer.list[1].name')", body) == "second"
    assert rendered("$input.path(\"$['outer']['flag']\")", body) == "true"


def test_util_converts_both_ways() -> None:
    assert rendered("$util.base64Decode($util.base64Encode('é'))") == "é"
    assert rendered("$util.urlDecode($util.urlEncode('a b&c'))") == "a b&c"
    assert rendered("$util.parseJson($input.path('$.text')).key", {"text": '{"key": "value"}'}) == "value"


def test_a_body_that_is_no_json_has_no_fields() -> None:
    assert render("[$input.path('$.a')]$input.body", Message("words"), context={}, stage_variables={}) == "[]words"


def test_a_broken_template_is_a_template_failure() -> None:
    with pytest.raises(TemplateFailure):
        rendered("#if($input.path('$.a')", {})
    with pytest.raises(TemplateFailure):
        rendered("$input.path('no root')", {})


@pytest.mark.parametrize(
    ("expression", "body", "chosen"),
    [
        ("\\$default", {}, "the default"),
        (None, {}, "the default"),
        ("${request.body.kind}", {"kind": "special"}, "the special"),
        ("${request.body.kind}", {"kind": "other"}, "the default"),
    ],
)
def test_the_selection_expression_picks_the_template(expression: str | None, body: object, chosen: str) -> None:
    templates = {"$default": "the default", "special": "the special"}

    assert select_template(templates, expression, Message(json.dumps(body))) == chosen
