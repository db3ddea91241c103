"""What the sandbox's recorder makes of requests: signed by botocore itself, answered by a server that records them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from starlette.applications import Starlette
from starlette.requests import Request as Served
from starlette.responses import Response
from starlette.routing import Route

from sandbox.calls import VARIABLE, access_key
from sandbox.calls.recorder import recorded

_ARN = "arn:aws:{}:us-east-1:000000000000:{}"
_BUCKET = "arn:aws:s3:::bucket"


class _Sent(Exception):
    pass


def _client(service: str, function: str = "chat") -> Any:
    settings: Any = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}} if service == "s3" else {}
    make: Any = boto3.client
    return make(
        service,
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id=access_key(function),
        aws_secret_access_key="x",
        aws_session_token="x",
        config=Config(retries={"total_max_attempts": 1}, **settings),
    )


def _request(service: str, operation: str, parameters: dict[str, Any]) -> httpx.Request:
    """What botocore would have sent."""
    client, sent = _client(service), []

    def keep(request: AWSPreparedRequest, **_: Any) -> None:
        sent.append(request)
        raise _Sent

    client.meta.events.register("before-send", keep)
    with pytest.raises(_Sent):
        getattr(client, operation)(**parameters)
    request: Any = sent[0]
    body = request.body.read() if hasattr(request.body, "read") else request.body
    headers = {
        name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
    }
    return httpx.Request(request.method, request.url, headers=headers, content=body)


def _record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *requests: httpx.Request, status: int = 200
) -> list[dict[str, Any]]:
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv(VARIABLE, str(file))

    async def answer(request: Served) -> Response:
        await request.body()
        return Response(status_code=status)

    app = recorded(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PUT", "POST", "DELETE", "HEAD"])]))

    async def send() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            for request in requests:
                await client.send(request)

    asyncio.run(send())
    return [json.loads(line) for line in file.read_text().splitlines()]


_TABLE = _ARN.format("dynamodb", "table/{}")
_ITEM = {"id": {"S": "x"}}
_PROFILE = _ARN.format("bedrock", "inference-profile/global.amazon.nova-2-lite-v1:0")
_CASES: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("dynamodb", "get_item", {"TableName": "t", "Key": _ITEM}, [("dynamodb:GetItem", _TABLE.format("t"))]),
    (
        "dynamodb",
        "query",
        {"TableName": "t", "IndexName": "idx", "KeyConditionExpression": "x"},
        [("dynamodb:Query", _TABLE.format("t/index/idx"))],
    ),
    (
        "dynamodb",
        "batch_get_item",
        {"RequestItems": {"t": {"Keys": [_ITEM]}, "u": {"Keys": [_ITEM]}}},
        [("dynamodb:BatchGetItem", _TABLE.format("t")), ("dynamodb:BatchGetItem", _TABLE.format("u"))],
    ),
    (
        "dynamodb",
        "transact_write_items",
        {
            "TransactItems": [
                {"Put": {"TableName": "t", "Item": _ITEM}},
                {"ConditionCheck": {"TableName": "u", "Key": _ITEM, "ConditionExpression": "x"}},
            ]
        },
        [("dynamodb:PutItem", _TABLE.format("t")), ("dynamodb:ConditionCheckItem", _TABLE.format("u"))],
    ),
    ("s3", "head_object", {"Bucket": "bucket", "Key": "a/b c"}, [("s3:GetObject", f"{_BUCKET}/a/b c")]),
    ("s3", "get_object", {"Bucket": "bucket", "Key": "a", "VersionId": "v"}, [("s3:GetObjectVersion", f"{_BUCKET}/a")]),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "a", "Body": b"x"}, [("s3:PutObject", f"{_BUCKET}/a")]),
    ("s3", "delete_object", {"Bucket": "bucket", "Key": "a"}, [("s3:DeleteObject", f"{_BUCKET}/a")]),
    ("s3", "list_object_versions", {"Bucket": "bucket"}, [("s3:ListBucketVersions", _BUCKET)]),
    (
        "s3",
        "abort_multipart_upload",
        {"Bucket": "bucket", "Key": "a", "UploadId": "u"},
        [("s3:AbortMultipartUpload", f"{_BUCKET}/a")],
    ),
    ("s3", "list_objects_v2", {"Bucket": "bucket", "Prefix": "a/"}, [("s3:ListBucket", _BUCKET)]),
    (
        "s3",
        "delete_objects",
        {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "a"}, {"Key": "b", "VersionId": "v"}]}},
        [("s3:DeleteObject", f"{_BUCKET}/a"), ("s3:DeleteObjectVersion", f"{_BUCKET}/b")],
    ),
    (
        "s3",
        "copy_object",
        {"Bucket": "bucket", "Key": "a", "CopySource": "other/b"},
        [("s3:PutObject", f"{_BUCKET}/a"), ("s3:GetObject", "arn:aws:s3:::other/b")],
    ),
    ("s3", "get_bucket_policy", {"Bucket": "bucket"}, [("s3:?", "s3 GET /bucket?policy")]),
    (
        "kms",
        "decrypt",
        {"KeyId": _ARN.format("kms", "key/k"), "CiphertextBlob": b"x"},
        [("kms:Decrypt", _ARN.format("kms", "key/k"))],
    ),
    (
        "sqs",
        "change_message_visibility_batch",
        {
            "QueueUrl": "http://127.0.0.1:1/000000000000/q",
            "Entries": [{"Id": "1", "ReceiptHandle": "r", "VisibilityTimeout": 0}],
        },
        [("sqs:ChangeMessageVisibility", _ARN.format("sqs", "q"))],
    ),
    (
        "lambda",
        "invoke",
        {"FunctionName": _ARN.format("lambda", "function:f")},
        [("lambda:InvokeFunction", _ARN.format("lambda", "function:f"))],
    ),
    (
        "bedrock-runtime",
        "converse_stream",
        {"modelId": "global.amazon.nova-2-lite-v1:0"},
        [
            ("bedrock:InvokeModelWithResponseStream", _PROFILE),
            (
                "bedrock:InvokeModelWithResponseStream",
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0",
            ),
            ("bedrock:InvokeModelWithResponseStream", "arn:aws:bedrock:::foundation-model/amazon.nova-2-lite-v1:0"),
        ],
    ),
    (
        "bedrock-runtime",
        "invoke_model",
        {"modelId": "amazon.titan-embed-text-v2:0", "body": b"{}"},
        [("bedrock:InvokeModel", "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0")],
    ),
    (
        "apigatewaymanagementapi",
        "post_to_connection",
        {"ConnectionId": "abc=", "Data": b"x"},
        [("execute-api:ManageConnections", _ARN.format("execute-api", "@callback/POST/@connections/ID"))],
    ),
    (
        "transcribe",
        "start_transcription_job",
        {
            "TranscriptionJobName": "j",
            "Media": {"MediaFileUri": "s3://bucket/in"},
            "OutputBucketName": "bucket",
            "OutputKey": "out",
        },
        [
            ("transcribe:StartTranscriptionJob", "*"),
            ("s3:GetObject", f"{_BUCKET}/in"),
            ("s3:PutObject", f"{_BUCKET}/out"),
        ],
    ),
    (
        "transcribe",
        "get_transcription_job",
        {"TranscriptionJobName": "j"},
        [("transcribe:GetTranscriptionJob", _ARN.format("transcribe", "transcription-job/j"))],
    ),
    (
        "polly",
        "synthesize_speech",
        {"OutputFormat": "pcm", "Text": "x", "VoiceId": "Joanna"},
        [("polly:SynthesizeSpeech", "*")],
    ),
    (
        "secretsmanager",
        "get_secret_value",
        {"SecretId": _ARN.format("secretsmanager", "secret:s")},
        [("secretsmanager:GetSecretValue", _ARN.format("secretsmanager", "secret:s"))],
    ),
    (
        "cognito-idp",
        "admin_delete_user",
        {"UserPoolId": "us-east-1_x", "Username": "x"},
        [("cognito-idp:AdminDeleteUser", _ARN.format("cognito-idp", "userpool/us-east-1_x"))],
    ),
    ("cognito-idp", "list_groups", {"UserPoolId": "us-east-1_x"}, [("cognito-idp:?", "cognito-idp ListGroups")]),
    ("sns", "list_topics", {}, [("sns:?", "sns POST /")]),
    ("dynamodb", "list_tables", {}, [("dynamodb:?", "dynamodb ListTables")]),
    ("sqs", "purge_queue", {"QueueUrl": "http://127.0.0.1:1/0/q"}, [("sqs:?", "sqs PurgeQueue")]),
    ("lambda", "list_functions", {}, [("lambda:?", "lambda GET /2015-03-31/functions")]),
]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"), _CASES, ids=[f"{case[0]} {case[1]}" for case in _CASES]
)
def test_a_request_needs_its_actions_on_its_resources(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    operation: str,
    parameters: dict[str, Any],
    expected: list[tuple[str, str]],
) -> None:
    calls = _record(tmp_path, monkeypatch, _request(service, operation, parameters))

    assert [(call["action"], call["resource"]) for call in calls] == expected
    assert {call["key"] for call in calls} == {access_key("chat")}


def test_a_foundation_model_is_invoked_through_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = _request("bedrock-runtime", "converse", {"modelId": "global.amazon.nova-2-lite-v1:0"})

    first, *models = _record(tmp_path, monkeypatch, request)

    assert first["context"] == {}
    assert [call["context"] for call in models] == [{"bedrock:InferenceProfileArn": _PROFILE}] * 2


def test_a_missing_object_is_told_from_a_forbidden_one_by_the_right_to_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _record(tmp_path, monkeypatch, _request("s3", "get_object", {"Bucket": "bucket", "Key": "a"}), status=404)

    assert [call["action"] for call in calls] == ["s3:GetObject", "s3:ListBucket"]


def test_a_signed_link_is_its_signers_call_whoever_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = _client("s3", "retrieval").generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "a"})

    [call] = _record(tmp_path, monkeypatch, httpx.Request("GET", link))

    assert (call["key"], call["action"]) == (access_key("retrieval"), "s3:GetObject")


def test_a_signed_form_is_its_signers_call_whoever_sends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = _client("s3", "documents").generate_presigned_post("bucket", "documents/a")
    upload = httpx.Request("POST", form["url"], data=form["fields"], files={"file": b"content" * 10_000})
    upload.read()

    [call] = _record(tmp_path, monkeypatch, upload)

    assert call["key"] == access_key("documents")
    assert (call["action"], call["resource"]) == ("s3:PutObject", f"{_BUCKET}/documents/a")


def test_calls_are_written_once_and_only_those_of_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = _request("dynamodb", "get_item", {"TableName": "t", "Key": _ITEM})
    theirs = httpx.Request(
        "POST", ours.url, headers={**ours.headers, "authorization": "AWS4-HMAC-SHA256 Credential=000000000000/x"}
    )
    form = httpx.Request("POST", "http://127.0.0.1:1/api", files={"file": b"x"})
    form.read()

    assert len(_record(tmp_path, monkeypatch, ours, theirs, form, ours, httpx.Request("GET", "http://a/"))) == 1


def test_nothing_is_recorded_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    app = Starlette()

    assert recorded(app) is app


def _record_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: httpx.Request) -> list[str]:
    """The actions that are recorded of a request whose caller is killed while it sends."""
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv(VARIABLE, str(file))
    half: dict[str, Any] = {"type": "http.request", "body": request.content[:10], "more_body": True}
    messages = iter([half, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 400, "headers": []})

    async def send(message: Any) -> None: ...

    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": request.url.raw_path,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    asyncio.run(recorded(serve)(scope, receive, send))
    return [json.loads(line)["action"] for line in file.read_text().splitlines()]


def test_a_request_whose_caller_was_killed_while_it_sent_is_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _request("dynamodb", "get_item", {"TableName": "t", "Key": _ITEM})

    assert _record_killed(tmp_path, monkeypatch, whole) == []


@pytest.mark.parametrize(
    ("service", "path", "action"),
    [
        ("bedrock", "/model/m/invoke-with-bidirectional-stream", "bedrock:InvokeModelWithBidirectionalStream"),
        ("polly", "/v1/synthesisStream", "polly:StartSpeechSynthesisStream"),
        ("transcribe", "/stream-transcription", "transcribe:StartStreamTranscription"),
    ],
)
def test_a_stream_is_a_call_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, path: str, action: str
) -> None:
    credential = f"AWS4-HMAC-SHA256 Credential={access_key('voice_worker')}/20261122/us-east-1/{service}/aws4_request"
    stream = httpx.Request("POST", f"http://127.0.0.1:1{path}", headers={"authorization": credential}, content=b"x")

    assert _record_killed(tmp_path, monkeypatch, stream) == [action]
