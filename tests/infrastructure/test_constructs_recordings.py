"""Recordings: what starts a transcription, what its function may do, and who may write the archive."""

from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from parley_constructs.python_function import PythonFunction
from parley_constructs.recordings import Recordings, RecordingsProps, grant_audio_archive

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, statements, synthesize


def _build(app: App) -> None:
    data = Stack(app, "Data")
    key = kms.Key(data, "Key", enable_key_rotation=True)
    logs = s3.Bucket(data, "Logs", enforce_ssl=True, server_access_logs_prefix="self/")
    audio = s3.Bucket(data, "Audio", enforce_ssl=True, encryption_key=key, server_access_logs_bucket=logs)
    stack = Stack(app, "Assistant")
    Recordings(
        stack,
        "Recordings",
        props=RecordingsProps(
            bucket=audio,
            encryption_key=key,
            code=code(),
            handler="index.handler",
            job_prefix="Parley-test_",
            environment={"EXTRA": "1"},
        ),
    )
    worker = PythonFunction(stack, "Worker", code=code(), handler="index.handler", service="worker")
    grant_audio_archive(audio, worker)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("recordings"), _build)


@pytest.fixture(scope="module")
def template(templates: dict[str, Template]) -> Template:
    return templates["Assistant"]


def _allowing(template: Template, policy: str, action: str) -> list[dict[str, Any]]:
    return [each for each in statements(template, policy) if action in each["Action"]]


def test_uploads_and_the_ends_of_jobs_reach_the_queue(template: Template) -> None:
    rules = [each["Properties"] for each in of_type(template, "AWS::Events::Rule").values()]
    [uploads] = [rule for rule in rules if rule["EventPattern"]["source"] == ["aws.s3"]]
    assert uploads["EventPattern"]["detail-type"] == ["Object Created"]
    assert uploads["EventPattern"]["detail"]["object"]["key"] == [{"prefix": "recordings/"}]
    assert "Fn::ImportValue" in uploads["EventPattern"]["detail"]["bucket"]["name"][0]
    [ends] = [rule for rule in rules if rule["EventPattern"]["source"] == ["aws.transcribe"]]
    assert ends["EventPattern"]["detail"] == {
        "TranscriptionJobName": [{"prefix": "Parley-test_"}],
        "TranscriptionJobStatus": ["COMPLETED", "FAILED"],
    }
    [queue] = [name for name in of_type(template, "AWS::SQS::Queue") if "DeadLetter" not in name]
    [dead] = [name for name in of_type(template, "AWS::SQS::Queue") if "DeadLetter" in name]
    for rule in rules:
        [target] = rule["Targets"]
        assert target["Arn"] == {"Fn::GetAtt": [queue, "Arn"]}
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": [dead, "Arn"]}


def test_the_buckets_stack_depends_on_nothing_here(templates: dict[str, Template]) -> None:
    assert "ImportValue" not in str(templates["Data"])
    assert not of_type(templates["Data"], "Custom::S3BucketNotifications")


def test_queues_are_encrypted_and_messages_stay_hidden_long_enough(template: Template) -> None:
    queues = of_type(template, "AWS::SQS::Queue").values()
    assert all(queue["Properties"]["SqsManagedSseEnabled"] for queue in queues)
    [queue] = [each["Properties"] for each in queues if "RedrivePolicy" in each["Properties"]]
    function = only(template, "AWS::Lambda::Function", having="Jobs")
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 10
    assert function["Environment"]["Variables"]["MAX_DELIVERIES"] == "10"
    assert function["Environment"]["Variables"]["EXTRA"] == "1"
    mapping = only(template, "AWS::Lambda::EventSourceMapping")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_jobs_write_to_this_bucket_only(template: Template) -> None:
    [start] = _allowing(template, "Jobs", "transcribe:StartTranscriptionJob")
    [output] = start["Condition"]["StringEquals"].items()
    assert output[0] == "transcribe:OutputBucketName"
    assert "Fn::ImportValue" in output[1]


def test_only_this_environments_jobs_are_looked_at_and_deleted(template: Template) -> None:
    [jobs] = _allowing(template, "Jobs", "transcribe:GetTranscriptionJob")
    assert jobs["Resource"]["Fn::Join"][1][-1] == ":transcription-job/Parley-test_*"
    assert "transcribe:DeleteTranscriptionJob" in jobs["Action"]


def test_uploads_are_read_and_never_written(template: Template) -> None:
    written = [str(each["Resource"]) for each in _allowing(template, "Jobs", "s3:PutObject")]
    assert written
    assert all("transcripts/*" in resource for resource in written)
    assert "s3:GetObject" in actions(template, "Jobs")


def test_the_archive_is_added_to_and_nothing_else_is_read(template: Template) -> None:
    granted = [each for each in statements(template, "Worker") if "s3:PutObject" in each["Action"]]
    resources = [each["Resource"]["Fn::Join"][1][-1] for each in granted]
    assert sorted(resources) == ["/*_input.wav", "/*_output.wav"]
    assert "s3:DeleteObject" not in actions(template, "Worker")
    assert "s3:ListBucket" in actions(template, "Worker")
