"""VoiceApi: who is let in, what is logged, and what a hostile audio message can write."""

import base64
import json
import re
from typing import Any

import airspeed
import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from parley_constructs.identity import ApiKeyIdentity
from parley_constructs.python_function import PythonFunction
from parley_constructs.voice_api import Throttle, VoiceApi, VoiceApiProps
from parley_constructs.voice_api.audio_route import audio_frame_template

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, statements, synthesize


def _build(app: App) -> None:
    data = Stack(app, "Data")
    table = dynamodb.Table(
        data,
        "Frames",
        partition_key=dynamodb.Attribute(name="session_id", type=dynamodb.AttributeType.STRING),
        sort_key=dynamodb.Attribute(name="seq", type=dynamodb.AttributeType.NUMBER),
        encryption_key=kms.Key(data, "Key", enable_key_rotation=True),
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
    )
    stack = Stack(app, "Assistant")
    function = PythonFunction(stack, "Function", code=code(), handler="index.handler", service="function")
    poster = PythonFunction(stack, "Poster", code=code(), handler="index.handler", service="poster")
    identity = ApiKeyIdentity(stack, "Identity", authorizer_function=function)
    api = VoiceApi(
        stack,
        "Api",
        props=VoiceApiProps(
            http_authorizer=identity.http_authorizer(),
            ticket_authorizer=function,
            audio_frames_table=table,
            allowed_origins=["https://app.example"],
            http_throttle=Throttle(rate=7, burst=14),
            websocket_throttle=Throttle(rate=70, burst=140),
        ),
    )
    api.add_http_route("/health", [apigwv2.HttpMethod.GET], function, authorized=False)
    api.add_http_route("/chat", [apigwv2.HttpMethod.POST], function)
    for route in ("$connect", "$default", "text"):
        api.add_websocket_route(route, function)
    api.add_websocket_route("ping", function, returns_response=True)
    api.grant_post_to_connections(poster)

    plain = Stack(app, "Plain")
    other = PythonFunction(plain, "Function", code=code(), handler="index.handler", service="function")
    keys = ApiKeyIdentity(plain, "Identity", authorizer_function=other)
    VoiceApi(
        plain,
        "Api",
        props=VoiceApiProps(http_authorizer=keys.http_authorizer(), ticket_authorizer=other),
    ).add_http_route("/chat", [apigwv2.HttpMethod.POST], other)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("voice_api"), _build)


@pytest.fixture(scope="module")
def template(templates: dict[str, Template]) -> Template:
    return templates["Assistant"]


def _routes(template: Template) -> dict[str, dict[str, Any]]:
    return {
        each["Properties"]["RouteKey"]: each["Properties"]
        for each in of_type(template, "AWS::ApiGatewayV2::Route").values()
    }


def test_every_http_route_asks_the_authorizer_unless_it_is_declared_public(template: Template) -> None:
    routes = _routes(template)
    assert routes["POST /chat"]["AuthorizationType"] == "CUSTOM"
    assert "AuthorizerId" in routes["POST /chat"]
    assert routes["GET /health"]["AuthorizationType"] == "NONE"


def test_connect_takes_a_ticket_from_the_query_string(template: Template) -> None:
    assert _routes(template)["$connect"]["AuthorizationType"] == "CUSTOM"
    authorizer = only(template, "AWS::ApiGatewayV2::Authorizer", having="WebSocketApi")
    assert authorizer["AuthorizerType"] == "REQUEST"
    assert authorizer["IdentitySource"] == ["route.request.querystring.ticket"]


def test_routes_are_one_way_unless_asked(template: Template) -> None:
    routes = _routes(template)
    assert "RouteResponseSelectionExpression" not in routes["text"]
    assert routes["ping"]["RouteResponseSelectionExpression"] == "$default"
    assert len(of_type(template, "AWS::ApiGatewayV2::RouteResponse")) == 1


def test_stages_throttle_and_log(template: Template) -> None:
    stages = {
        each["Properties"]["StageName"]: each["Properties"]
        for each in of_type(template, "AWS::ApiGatewayV2::Stage").values()
    }
    assert set(stages) == {"$default", "ws"}
    assert stages["$default"]["DefaultRouteSettings"]["ThrottlingRateLimit"] == 7
    assert stages["ws"]["DefaultRouteSettings"]["ThrottlingBurstLimit"] == 140
    for stage in stages.values():
        assert "DestinationArn" in stage["AccessLogSettings"]
    for group in of_type(template, "AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] > 0


def test_access_logs_never_carry_the_ticket_or_what_was_said(template: Template) -> None:
    for stage in of_type(template, "AWS::ApiGatewayV2::Stage").values():
        fields = json.loads(stage["Properties"]["AccessLogSettings"]["Format"])
        assert fields["requestId"] == "$context.requestId"
        for value in fields.values():
            assert re.fullmatch(r"\$context\.[A-Za-z.]+", value)
            assert not re.search(r"path|query|param|body|header|input", value, re.IGNORECASE)


def test_only_given_origins_may_call_from_a_browser(templates: dict[str, Template]) -> None:
    cors = only(templates["Assistant"], "AWS::ApiGatewayV2::Api", having="HttpApi")["CorsConfiguration"]
    assert cors["AllowOrigins"] == ["https://app.example"]
    assert "AllowCredentials" not in cors
    assert "CorsConfiguration" not in only(templates["Plain"], "AWS::ApiGatewayV2::Api", having="HttpApi")


def test_posting_to_connections_reaches_this_stage_alone(template: Template) -> None:
    [statement] = [each for each in statements(template, "Poster") if each["Action"] == "execute-api:ManageConnections"]
    websocket_api = next(name for name in of_type(template, "AWS::ApiGatewayV2::Api") if "WebSocketApi" in name)
    resource = "".join(
        part if isinstance(part, str) else f"<{part['Ref']}>" for part in statement["Resource"]["Fn::Join"][1]
    )
    assert resource == (
        f"arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:<{websocket_api}>/ws/*/@connections/*"
    )


def test_the_audio_route_may_put_items_and_nothing_else(template: Template) -> None:
    role = actions(template, "AudioRoute")
    assert {action for action in role if action.startswith("dynamodb:")} == {"dynamodb:PutItem"}
    assert not any("*" in action for action in role)
    assert "kms:Decrypt" in role


def test_the_audio_route_writes_without_a_function(template: Template) -> None:
    integration = only(template, "AWS::ApiGatewayV2::Integration", having="audio")
    assert integration["IntegrationType"] == "AWS"
    assert integration["IntegrationUri"]["Fn::Join"][1][-1] == ":dynamodb:action/PutItem"
    assert integration["PassthroughBehavior"] == "NEVER"
    assert integration["TemplateSelectionExpression"] == "\\$default"
    assert set(integration["RequestTemplates"]) == {"$default"}


def test_without_a_table_there_is_no_audio_route(templates: dict[str, Template]) -> None:
    assert "audio" not in _routes(templates["Plain"])


# What API Gateway's template engine offers, as its documentation describes it.


class _Util:
    def escapeJavaScript(self, value: str) -> str:
        """Apache Commons Lang's: also escapes slashes and single quotes."""
        escaped = json.dumps(value)[1:-1]
        return escaped.replace("/", "\\/").replace("'", "\\'")

    def parseJson(self, value: str) -> Any:
        return json.loads(value)


class _Input:
    def __init__(self, body: Any) -> None:
        self._body = body

    def path(self, expression: str) -> Any:
        name = expression.removeprefix("$.")
        return self._body.get(name) if isinstance(self._body, dict) else None


def _render(body: Any, *, clock: int | str = 1_790_000_000_123, session_id: str = "session-1") -> dict[str, Any]:
    text = airspeed.Template(audio_frame_template(table_name="Frames", keep_for=Duration.hours(1))).merge(
        {
            "input": _Input(body),
            "util": _Util(),
            "context": {
                "connectionId": "L0SM9cOFvHcCIhw=",
                "requestTimeEpoch": clock,
                "authorizer": {"session_id": session_id, "subject": "somebody"},
            },
        }
    )
    request: dict[str, Any] = json.loads(text)
    return request


def test_a_frame_becomes_an_item() -> None:
    data = base64.b64encode(bytes(range(256))).decode()
    assert _render({"action": "audio", "seq": 17, "data": data}) == {
        "TableName": "Frames",
        "Item": {
            "session_id": {"S": "session-1"},
            "seq": {"N": "17"},
            "data": {"B": data},
            "connection_id": {"S": "L0SM9cOFvHcCIhw="},
            "received_at": {"N": "1790000000123"},
            "expires_at": {"N": "1790003600"},
        },
        "ConditionExpression": "attribute_not_exists(session_id)",
    }


def test_the_clock_may_be_text() -> None:
    assert _render({"seq": 1, "data": "AA=="}, clock="1790000000123")["Item"]["expires_at"] == {"N": "1790003600"}


@pytest.mark.parametrize(
    "value",
    [
        '"',
        "\\",
        "\\\\",
        '\\"',
        "'",
        "\\'",
        "it's",
        '"}',
        '1"}, "owner": {"S": "somebody else',
        '1"}}, "TableName": "Sessions", "Item": {"session_id": {"S": "session-2',
        '"},"session_id":{"S":"session-2"},"x":{"S":"',
        "$context.connectionId",
        "$util.parseJson('{}')",
        "#set($seq = 1)",
        "${data}",
        "$1",
        "\\1",
        "\x00\x08\t\n\x0b\x0c\r\x1f",
        "\u2028\u2029 ünïcödé 🎤",
        "</script>",
        {"N": "1"},
        {'"}': '"}'},
        {"session_id": "session-2"},
        [1, 2, 3],
        ['"}', "'"],
        [],
        {},
        None,
        True,
        -1,
        0,
        1.5,
        10**400,
        1e308,
        "",
        " " * 1000,
    ],
)
def test_no_value_of_a_message_reaches_beyond_its_own_attribute(value: Any) -> None:
    expected = _render({"seq": 1, "data": "AA=="})
    for field, kind in (("seq", "N"), ("data", "B")):
        request = _render({"action": "audio", "seq": 1, "data": "AA=="} | {field: value})
        assert list(request["Item"][field]) == [kind]
        assert isinstance(request["Item"][field][kind], str)
        request["Item"][field] = expected["Item"][field]
        assert request == expected


@pytest.mark.parametrize("body", [{}, {"seq": 1}, {"data": "AA=="}, [], "audio", 7, None])
def test_what_is_missing_is_empty(body: Any) -> None:
    # DynamoDB refuses a number that is empty, and keeps a binary that is: the worker refuses that.
    item = _render(body)["Item"]
    assert item["seq"]["N"] == "" or item["data"]["B"] == ""


def test_the_body_chooses_neither_session_nor_connection_nor_time() -> None:
    item = _render(
        {
            "seq": 1,
            "data": "AA==",
            "session_id": "session-2",
            "connection_id": "theirs",
            "received_at": 1,
            "expires_at": 1,
            "authorizer": {"session_id": "session-2"},
        }
    )["Item"]
    assert item["session_id"] == {"S": "session-1"}
    assert item["connection_id"] == {"S": "L0SM9cOFvHcCIhw="}
    assert item["received_at"] == {"N": "1790000000123"}


@pytest.mark.parametrize("text", ["1'2", "AA'=="])
def test_a_single_quote_makes_no_valid_number_or_base64(text: str) -> None:
    item = _render({"seq": text, "data": text})["Item"]
    assert "!" in item["seq"]["N"]
    assert "!" in item["data"]["B"]


@pytest.mark.parametrize("session_id", ['"}, "owner": {"S": "x', "it's", "\\", "\n"])
def test_a_session_id_that_somebody_made_up_stays_one_value(session_id: str) -> None:
    item = _render({"seq": 1, "data": "AA=="}, session_id=session_id)["Item"]
    assert set(item) == {"session_id", "seq", "data", "connection_id", "received_at", "expires_at"}
    assert item["session_id"] == {"S": session_id.replace("'", "!")}
