"""The knowledge base follows what changes in its table: which records, with which retries, and what it may do."""

import json
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from parley_constructs.knowledge_base import KnowledgeBase, KnowledgeBaseProps, VectorStore

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, statements, synthesize


def _knowledge_base(app: App, *, stream: dynamodb.StreamViewType | None, handler: str | None) -> KnowledgeBase:
    data = Stack(app, "Data")
    key = kms.Key(data, "Key", enable_key_rotation=True)
    logs = s3.Bucket(data, "Logs", enforce_ssl=True, server_access_logs_prefix="self/")
    table = dynamodb.Table(
        data,
        "Table",
        partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
        encryption_key=key,
        stream=stream,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
    )
    return KnowledgeBase(
        Stack(app, "Knowledge"),
        "KnowledgeBase",
        props=KnowledgeBaseProps(
            documents_bucket=s3.Bucket(data, "Documents", enforce_ssl=True, server_access_logs_bucket=logs),
            knowledge_table=table,
            vector_store=VectorStore.faiss(),
            code=code(),
            ingestion_handler="index.handler",
            retrieval_handler="index.handler",
            reembedding_handler=handler,
            embedding_model="amazon.titan-embed-text-v2:0",
        ),
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def build(app: App) -> None:
        _knowledge_base(app, stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES, handler="index.handler")

    return synthesize(tmp_path_factory.mktemp("change_stream"), build)["Knowledge"]


@pytest.fixture
def mapping(template: Template) -> dict[str, Any]:
    return only(template, "AWS::Lambda::EventSourceMapping", having="ChunkChanges")


def test_it_reads_the_tables_stream_from_where_it_begins(mapping: dict[str, Any]) -> None:
    assert "StreamArn" in json.dumps(mapping["EventSourceArn"])
    assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_only_chunks_that_ingestion_did_not_write_start_it(mapping: dict[str, Any]) -> None:
    patterns = [json.loads(each["Pattern"]) for each in mapping["FilterCriteria"]["Filters"]]
    keys = {"sk": {"S": [{"prefix": "chunk#"}]}}
    assert patterns == [
        {"eventName": ["MODIFY"], "dynamodb": {"Keys": keys}},
        {
            "eventName": ["INSERT"],
            "dynamodb": {"Keys": keys, "NewImage": {"embedded": {"S": [{"exists": False}]}}},
        },
    ]


def test_a_failing_record_is_isolated_retried_and_given_up_into_the_dead_letter_queue(
    template: Template, mapping: dict[str, Any]
) -> None:
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 5
    dead = next(name for name in of_type(template, "AWS::SQS::Queue") if "DeadLetter" in name)
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": {"Fn::GetAtt": [dead, "Arn"]}}}
    assert {"Action": "sqs:SendMessage", "Effect": "Allow", "Resource": {"Fn::GetAtt": [dead, "Arn"]}} in list(
        statements(template, "Reembedding")
    )


def test_it_may_follow_the_stream_mend_chunks_and_write_the_index_and_nothing_else(template: Template) -> None:
    assert actions(template, "Reembedding") == {
        *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
        *("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
        *("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
        "sqs:SendMessage",
        *("s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject"),
        "bedrock:InvokeModel",
    }
    for statement in statements(template, "Reembedding"):
        if "s3:PutObject" in statement["Action"]:
            assert statement["Resource"]["Fn::Join"][1][-1] == "/indexes/faiss/*"


def test_without_a_handler_nothing_follows_the_table() -> None:
    knowledge_base = _knowledge_base(App(), stream=None, handler=None)
    assert knowledge_base.reembedding_function is None


def test_a_table_without_a_stream_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="The knowledge table has no stream"):
        _knowledge_base(App(), stream=None, handler="index.handler")
