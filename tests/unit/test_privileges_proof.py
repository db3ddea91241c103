"""The proof itself: what it says of templates and a recording that fit each other, and of those that do not."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from operations.assembly import Assembly
from operations.environment import OperationError
from operations.privileges.policies import Call, UnsupportedForm
from operations.privileges.proof import Accepted, Finding, Proof, Reasons, open_resources, prove
from operations.privileges.recording import Deployment, Recorded, read_recording
from operations.privileges.templates import Function, Templates
from sandbox.calls import access_key

_ARN = "arn:aws:{}:us-east-1:000000000000:{}"
_TABLE, _KEY = _ARN.format("dynamodb", "table/Data.Table"), _ARN.format("kms", "key/Data.Key")
_BUCKET, _QUEUE = "arn:aws:s3:::Data.Bucket", _ARN.format("sqs", "App.Queue")
_ROLE: dict[str, Any] = {"Type": "AWS::IAM::Role", "Properties": {}}
_FUNCTION: dict[str, Any] = {
    "Type": "AWS::Lambda::Function",
    "Properties": {
        "Handler": "parley.functions.chat.handler",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
    },
}


def _of_data(output: str) -> dict[str, Any]:
    return {"Fn::GetStackOutput": {"StackName": "Parley-local-Data", "Region": "us-east-1", "OutputName": output}}


def _allow(actions: str | list[str], resource: Any, via: str = "") -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": resource}
    if via:
        joined = {"Fn::Join": ["", [f"{via}.", {"Ref": "AWS::Region"}, ".", {"Ref": "AWS::URLSuffix"}]]}
        statement["Condition"] = {"StringEquals": {"kms:ViaService": joined}}
    return statement


_LOGS = _allow(["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": ["Logs", "Arn"]})
_READ = _allow("dynamodb:GetItem", _of_data("TableArn"))
_READ_KEY = _allow("kms:Decrypt", _of_data("KeyArn"), via="dynamodb")
_READ_CALL = Call("dynamodb:GetItem", _TABLE)

_DATA: dict[str, Any] = {
    "Resources": {
        "Key": {"Type": "AWS::KMS::Key", "Properties": {}},
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {"SSESpecification": {"KMSMasterKeyId": {"Fn::GetAtt": ["Key", "Arn"]}}},
        },
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"ServerSideEncryptionByDefault": {"KMSMasterKeyID": {"Ref": "Key"}}}
                    ]
                }
            },
        },
    },
    "Outputs": {
        name: {"Value": {"Fn::GetAtt": [resource, "Arn"]}}
        for name, resource in (("TableArn", "Table"), ("KeyArn", "Key"), ("BucketArn", "Bucket"))
    },
}


def _templates(*statements: dict[str, Any], **more: Any) -> Templates:
    """An environment with one function, whose role allows these statements beside writing logs."""
    resources: dict[str, Any] = {
        "Role": {**_ROLE, "Properties": {"Policies": [{"PolicyDocument": {"Statement": [_LOGS]}}]}},
        "Policy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {"Roles": [{"Ref": "Role"}], "PolicyDocument": {"Statement": list(statements)}},
        },
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}},
        "Function": _FUNCTION,
        **more,
    }
    stacks: dict[str, Any] = {"Parley-local-Data": _DATA, "Parley-local-App": {"Resources": resources}}
    return Templates(Assembly(Path(), stacks, {}), "local")


def _prove(
    templates: Templates, *calls: Call, reasons: Reasons | None = None, deployed: tuple[str, ...] = ("App.Function",)
) -> Proof:
    accepted = (reasons or Reasons(Accepted([], []))).of("local")
    return prove(templates, {"App.Function": set(calls)}, deployed=deployed, accepted=accepted)


def _only(templates: Templates) -> Function:
    [function] = templates.functions
    return function


def test_a_role_that_fits_its_function_is_proved() -> None:
    assert _prove(_templates(_READ, _READ_KEY), _READ_CALL) == Proof()


def test_without_a_statement_the_proof_names_the_one_that_is_missing() -> None:
    [missing] = _prove(_templates(_READ_KEY), _READ_CALL).missing

    assert missing.function == "chat"
    assert missing.statement() == {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": _TABLE}


def test_an_action_that_nothing_uses_is_found() -> None:
    scan = _allow(["dynamodb:GetItem", "dynamodb:Scan"], _of_data("TableArn"))

    assert _prove(_templates(scan, _READ_KEY), _READ_CALL).unused == [Finding("chat", "dynamodb:Scan", _TABLE)]


def test_a_resource_that_nothing_uses_is_found() -> None:
    both = _allow("dynamodb:GetItem", [_of_data("TableArn"), "arn:aws:dynamodb:us-east-1:000000000000:table/Other"])

    [unused] = _prove(_templates(both, _READ_KEY), _READ_CALL).unused

    assert unused.resource.endswith("table/Other")


def test_a_function_that_no_test_drives_is_named() -> None:
    proof = _prove(_templates(_READ, _READ_KEY))

    assert proof.undriven == ["chat"]
    assert [finding.action for finding in proof.unused] == ["dynamodb:GetItem", "kms:Decrypt"]


def test_a_function_that_the_sandbox_does_not_have_needs_reasons_for_its_rights_alone() -> None:
    proof = _prove(_templates(_READ, _READ_KEY), deployed=())

    assert proof.undriven == []
    assert len(proof.unused) == 2


def test_a_table_with_a_key_needs_the_key_through_dynamodb() -> None:
    [missing] = _prove(_templates(_READ), _READ_CALL).missing

    assert missing.statement() == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": _KEY,
        "Condition": {"StringEquals": {"kms:ViaService": "dynamodb.us-east-1.amazonaws.com"}},
    }


def test_a_key_granted_through_another_service_is_not_enough() -> None:
    proof = _prove(_templates(_READ, _allow("kms:Decrypt", _of_data("KeyArn"), via="s3")), _READ_CALL)

    assert [finding.action for finding in proof.missing] == ["kms:Decrypt"]
    assert [finding.action for finding in proof.unused] == ["kms:Decrypt"]


def test_an_object_in_a_bucket_with_a_key_needs_it_for_reading_and_writing() -> None:
    objects = {"Fn::Sub": "arn:${AWS::Partition}:s3:::Data.Bucket/documents/*"}
    templates = _templates(_allow(["s3:GetObject", "s3:PutObject"], objects))

    calls = [Call(action, f"{_BUCKET}/documents/a") for action in ("s3:GetObject", "s3:PutObject")]

    assert [finding.action for finding in _prove(templates, *calls).missing] == ["kms:Decrypt", "kms:GenerateDataKey"]


def test_what_lambda_does_with_the_role_counts_as_used_and_as_needed() -> None:
    mapping = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {"FunctionName": {"Ref": "Function"}, "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]}},
    }
    queue = {"Type": "AWS::SQS::Queue", "Properties": {}}
    received = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    poll = _allow([*received, "sqs:GetQueueUrl"], {"Fn::GetAtt": ["Queue", "Arn"]})

    fitting = _prove(_templates(_READ, _READ_KEY, poll, Mapping=mapping, Queue=queue), _READ_CALL)
    lacking = _prove(_templates(_READ, _READ_KEY, Mapping=mapping, Queue=queue), _READ_CALL)

    assert fitting.unused == [Finding("chat", "sqs:GetQueueUrl", _QUEUE)]
    assert fitting.missing == []
    assert [finding.action for finding in lacking.missing] == received


def test_a_stream_is_read_with_the_tables_key_and_a_failure_is_told_to_a_queue() -> None:
    stream = {"Fn::Join": ["/", [_of_data("TableArn"), "stream", "label"]]}
    mapping = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "FunctionName": {"Fn::GetAtt": ["Function", "Arn"]},
            "EventSourceArn": stream,
            "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["Queue", "Arn"]}}},
        },
    }
    templates = _templates(Mapping=mapping, Queue={"Type": "AWS::SQS::Queue", "Properties": {}})

    needed = {finding.action for finding in _prove(templates).missing}

    assert needed == {
        *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
        *("sqs:SendMessage", "kms:Decrypt"),
    }


def test_a_function_that_is_released_by_an_alias_is_called_and_fed_through_it() -> None:
    alias = {"Type": "AWS::Lambda::Alias", "Properties": {"FunctionName": {"Ref": "Function"}, "Name": "live"}}
    mapping = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {"FunctionName": {"Ref": "Alias"}, "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]}},
    }
    templates = _templates(
        _allow("lambda:InvokeFunction", {"Ref": "Alias"}),
        _allow(["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], {"Fn::GetAtt": ["Queue", "Arn"]}),
        Alias=alias,
        Mapping=mapping,
        Queue={"Type": "AWS::SQS::Queue", "Properties": {}},
    )

    assert _prove(templates, Call("lambda:InvokeFunction", _ARN.format("lambda", "function:App.Function"))) == Proof()


def test_a_function_in_a_network_that_is_traced_needs_what_lambda_needs_for_both() -> None:
    properties = {**_FUNCTION["Properties"], "VpcConfig": {}, "TracingConfig": {"Mode": "Active"}}
    called = {
        call.action for call in _only(_templates(Function={**_FUNCTION, "Properties": properties})).called_by_lambda
    }

    assert {"ec2:CreateNetworkInterface", "xray:PutTraceSegments", "logs:PutLogEvents"} <= called


def test_a_role_with_policies_that_are_not_in_the_template_is_refused() -> None:
    managed = {"Type": "AWS::IAM::Role", "Properties": {"ManagedPolicyArns": ["arn:aws:iam::aws:policy/Some"]}}

    with pytest.raises(UnsupportedForm, match="not in the template"):
        _ = _templates(Role=managed).functions


def test_an_intrinsic_function_that_is_not_resolved_is_refused() -> None:
    with pytest.raises(UnsupportedForm, match="Fn::If"):
        _ = _templates(_allow("s3:GetObject", {"Fn::If": ["Condition", "a", "b"]})).functions


def test_functions_that_are_not_ours_are_left_alone() -> None:
    foreign = copy.deepcopy(_FUNCTION)
    foreign["Properties"]["Handler"] = "index.handler"

    assert _templates(Function=foreign).functions == []


def test_a_star_is_found_where_the_service_could_name_a_resource() -> None:
    templates = _templates(_allow(["xray:PutTraceSegments", "s3:GetObject"], "*"))

    assert [action for _, action in open_resources(templates.policies())] == ["s3:GetObject"]


# The recording.


def test_a_recording_is_told_in_the_templates_names(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    said: dict[str, Any] = {
        "key": access_key("deployed-function-1"),
        "action": "execute-api:ManageConnections",
        "resource": _ARN.format("execute-api", "@callback/POST/@connections/ID"),
        "context": {"transcribe:OutputBucketName": "deployed-bucket-1"},
    }
    file.write_text(f"{json.dumps(said)}\n" * 2)
    deployment = Deployment({"deployed-function-1": "App.Function", "deployed-bucket-1": "Data.Bucket"})

    calls = deployment.calls(read_recording(file), environment="dev", callback="App.Api/ws", region="eu-west-1")

    resource = "arn:aws:execute-api:eu-west-1:000000000000:App.Api/ws/POST/@connections/ID"
    expected = Call(said["action"], resource, (("transcribe:OutputBucketName", "Data.Bucket"),))
    assert calls == {"App.Function": {expected}}


def test_what_differs_between_runs_does_not_tell_calls_apart() -> None:
    deployment = Deployment({"function": "App.Function", "bucket": "Data.Bucket"})
    keys = ("0123456789abcdef0123456789abcdef", "fedcba98-7654-3210-fedc-ba9876543210")
    recorded = [
        Recorded(access_key("function"), Call("s3:GetObject", f"arn:aws:s3:::bucket/documents/{key}/a")) for key in keys
    ]
    calls = deployment.calls(recorded, environment="local", callback="", region="us-east-1")

    assert calls == {"App.Function": {Call("s3:GetObject", "arn:aws:s3:::Data.Bucket/documents/ID/a")}}


def test_calls_of_an_unknown_function_are_refused() -> None:
    recorded = [Recorded(access_key("gone"), Call("s3:GetObject", "arn:aws:s3:::bucket/a"))]
    with pytest.raises(OperationError, match="no deployed function"):
        Deployment({}).calls(recorded, environment="local", callback="", region="us-east-1")


def test_a_recording_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no recording"):
        read_recording(tmp_path / "none")


# The reviewed file.

_ENTRY = """
[[unused]]
functions = ["chat"]
actions = ["dynamodb:S*"]
reason = "A scan is what a repair needs, once in a year."
"""


def _reasons(tmp_path: Path, text: str) -> Reasons:
    file = tmp_path / "accepted.toml"
    file.write_text(text)
    return Reasons(Accepted.read(file))


def test_a_reviewed_reason_accepts_an_unused_action_and_nothing_else(tmp_path: Path) -> None:
    wide = _allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"], _of_data("TableArn"))
    reasons = _reasons(tmp_path, _ENTRY)

    proof = _prove(_templates(wide, _READ_KEY), _READ_CALL, reasons=reasons)

    assert proof.unused == [Finding("chat", "dynamodb:PutItem", _TABLE)]
    assert reasons.stale == []


def test_a_reason_that_some_runs_need_is_never_stale(tmp_path: Path) -> None:
    reasons = _reasons(tmp_path, _ENTRY + "by_chance = true\n")

    assert reasons.stale == []


def test_a_reason_that_nothing_needs_any_more_is_stale(tmp_path: Path) -> None:
    reasons = _reasons(tmp_path, _ENTRY)

    _prove(_templates(_READ, _READ_KEY), _READ_CALL, reasons=reasons)

    assert [entry.functions for entry in reasons.stale] == [["chat"]]


def test_a_call_that_an_environment_does_not_make_can_be_accepted_there(tmp_path: Path) -> None:
    entry = _ENTRY.replace("unused", "elsewhere").replace("S*", "GetItem") + 'environments = ["local"]'
    reasons = _reasons(tmp_path, entry)

    assert _prove(_templates(_READ_KEY), _READ_CALL, reasons=reasons).missing == []
    assert not reasons.of("prod")("elsewhere", Finding("chat", "dynamodb:GetItem", _TABLE))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_ENTRY.replace("unused", "ignored"), "it knows"),
        (_ENTRY.replace("A scan is what a repair needs, once in a year.", "Needed."), "no reason"),
        (_ENTRY + 'because = "x"', "because"),
    ],
)
def test_an_entry_that_says_too_little_or_too_much_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OperationError, match=said):
        _reasons(tmp_path, text)
