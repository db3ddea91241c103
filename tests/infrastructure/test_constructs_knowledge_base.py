"""KnowledgeBase: how documents reach ingestion, what its functions may do, and where retrieval may run."""

from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from parley_constructs.knowledge_base import KnowledgeBase, KnowledgeBaseProps, VectorStore
from parley_constructs.python_function import PythonFunction

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, statements, synthesize


def _build(app: App) -> None:
    data = Stack(app, "Data")
    key = kms.Key(data, "Key", enable_key_rotation=True)
    logs = s3.Bucket(data, "Logs", enforce_ssl=True, server_access_logs_prefix="self/")
    documents = s3.Bucket(data, "Documents", enforce_ssl=True, encryption_key=key, server_access_logs_bucket=logs)
    # As `event_bridge_enabled=True` sets it, without CDK's custom resource and its findings.
    resource = documents.node.default_child
    assert isinstance(resource, s3.CfnBucket)
    resource.add_property_override("NotificationConfiguration.EventBridgeConfiguration.EventBridgeEnabled", True)
    table = dynamodb.Table(
        data,
        "Knowledge",
        partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
        encryption_key=key,
        stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
    )
    stack = Stack(app, "Knowledge")
    knowledge_base = KnowledgeBase(
        stack,
        "KnowledgeBase",
        props=KnowledgeBaseProps(
            documents_bucket=documents,
            knowledge_table=table,
            vector_store=VectorStore.faiss(),
            code=code(),
            ingestion_handler="index.handler",
            retrieval_handler="index.handler",
            reembedding_handler="index.handler",
            embedding_model="amazon.titan-embed-text-v2:0",
            retrieval_environment={"EXTRA": "1"},
        ),
    )
    caller = PythonFunction(stack, "Caller", code=code(), handler="index.handler", service="caller")
    knowledge_base.grant_query(caller)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("knowledge_base"), _build)


@pytest.fixture(scope="module")
def template(templates: dict[str, Template]) -> Template:
    return templates["Knowledge"]


def _variables(template: Template, function: str) -> dict[str, Any]:
    [resource] = [
        each["Properties"]
        for name, each in of_type(template, "AWS::Lambda::Function").items()
        if name.startswith(f"KnowledgeBase{function}")
    ]
    variables: dict[str, Any] = resource["Environment"]["Variables"]
    return variables


def test_only_documents_of_this_bucket_start_ingestion(template: Template) -> None:
    pattern = only(template, "AWS::Events::Rule")["EventPattern"]
    assert pattern["source"] == ["aws.s3"]
    assert pattern["detail-type"] == ["Object Created", "Object Deleted"]
    assert pattern["detail"]["object"]["key"] == [{"prefix": "documents/"}]
    assert "Fn::ImportValue" in pattern["detail"]["bucket"]["name"][0]


def test_the_buckets_stack_depends_on_nothing_here(templates: dict[str, Template]) -> None:
    assert "ImportValue" not in str(templates["Data"])
    assert not of_type(templates["Data"], "Custom::S3BucketNotifications")


def test_failed_documents_end_in_the_dead_letter_queue(template: Template) -> None:
    queue = only(template, "AWS::SQS::Queue", having="IngestionQueue")
    dead = next(name for name in of_type(template, "AWS::SQS::Queue") if "DeadLetter" in name)
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": {"Fn::GetAtt": [dead, "Arn"]}, "maxReceiveCount": 10}
    assert only(template, "AWS::Events::Rule")["Targets"][0]["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": [dead, "Arn"]}


def test_ingestion_can_put_messages_back_and_give_them_up(template: Template) -> None:
    queues = {name: {"Ref": name} for name in of_type(template, "AWS::SQS::Queue")}
    variables = _variables(template, "Ingestion")
    assert [variables["DOCUMENTS_QUEUE_URL"], variables["DEAD_LETTER_QUEUE_URL"]] == [
        next(reference for name, reference in queues.items() if part in name)
        for part in ("IngestionQueue", "DeadLetterQueue")
    ]
    assert variables["MAX_DELIVERIES"] == "10"
    granted = [
        statement["Resource"]["Fn::GetAtt"][0]
        for statement in statements(template, "Ingestion")
        if "sqs:SendMessage" in statement["Action"]
    ]
    assert sorted(granted) == sorted(queues)
    assert "sqs:ChangeMessageVisibility" in actions(template, "Ingestion")


def test_a_message_stays_hidden_for_six_times_what_its_function_may_take(template: Template) -> None:
    [timeout] = [
        each["Properties"]["Timeout"]
        for name, each in of_type(template, "AWS::Lambda::Function").items()
        if "Ingestion" in name
    ]
    assert only(template, "AWS::SQS::Queue", having="IngestionQueue")["VisibilityTimeout"] >= 6 * timeout


def test_queues_are_encrypted_with_a_key_that_admits_eventbridge(template: Template) -> None:
    for queue in of_type(template, "AWS::SQS::Queue").values():
        assert "Fn::GetAtt" in queue["Properties"]["KmsMasterKeyId"]
    services = [
        statement["Principal"]
        for statement in only(template, "AWS::KMS::Key")["KeyPolicy"]["Statement"]
        if "kms:GenerateDataKey*" in statement["Action"] or "kms:GenerateDataKey" in statement["Action"]
    ]
    assert {"Service": "events.amazonaws.com"} in services


def test_queues_refuse_plain_connections(template: Template) -> None:
    refused = [
        queue
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for queue in policy["Properties"]["Queues"]
    ]
    assert len(refused) == 2


def test_ingestion_reports_each_failed_message(template: Template) -> None:
    mapping = only(template, "AWS::Lambda::EventSourceMapping", having="DocumentEvents")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 10
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}


def test_functions_know_their_store(template: Template) -> None:
    for function in ("Ingestion", "Retrieval"):
        variables = _variables(template, function)
        assert variables["VECTOR_STORE"] == "faiss"
        assert variables["EMBEDDING_MODEL"] == "amazon.titan-embed-text-v2:0"
        assert {"KNOWLEDGE_TABLE", "DOCUMENTS_BUCKET"} <= set(variables)
    assert _variables(template, "Retrieval")["EXTRA"] == "1"
    assert "EXTRA" not in _variables(template, "Ingestion")


def test_retrieval_reads_and_never_writes(template: Template) -> None:
    allowed = actions(template, "Retrieval")
    assert {"s3:GetObject", "s3:ListBucket", "bedrock:InvokeModel"} <= allowed
    assert not {action for action in allowed if "Put" in action or "Delete" in action or "Update" in action}


def test_retrieval_can_sign_links_to_documents_which_their_key_encrypts(template: Template) -> None:
    granted = statements(template, "Retrieval")
    read = [each["Resource"] for each in granted if "s3:GetObject" in each["Action"]]
    assert "/documents/*" in [resource["Fn::Join"][1][-1] for resource in read]
    assert "kms:Decrypt" in actions(template, "Retrieval")


def test_ingestion_reads_documents_and_writes_the_index_only(template: Template) -> None:
    for statement in statements(template, "Ingestion"):
        if "s3:PutObject" in statement["Action"]:
            assert statement["Resource"]["Fn::Join"][1][-1] == "/indexes/faiss/*"
    assert "s3:PutObject" in actions(template, "Ingestion")


def test_asking_is_invoking_the_retrieval_function_and_no_other(template: Template) -> None:
    [statement] = [each for each in statements(template, "Caller") if each["Action"] == "lambda:InvokeFunction"]
    [retrieval] = [name for name in of_type(template, "AWS::Lambda::Function") if "Retrieval" in name]
    assert statement["Resource"] == {"Fn::GetAtt": [retrieval, "Arn"]}


def test_metrics_are_of_the_right_things() -> None:
    stack = Stack(App(), "Metrics")
    bucket = s3.Bucket(stack, "Documents")
    table = dynamodb.Table(
        stack, "Table", partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING)
    )
    knowledge_base = KnowledgeBase(
        stack,
        "KnowledgeBase",
        props=KnowledgeBaseProps(
            documents_bucket=bucket,
            knowledge_table=table,
            vector_store=VectorStore.faiss(),
            code=code(),
            ingestion_handler="index.handler",
            retrieval_handler="index.handler",
            embedding_model="amazon.titan-embed-text-v2:0",
        ),
    )
    names = {
        knowledge_base.metric_dead_letters().metric_name,
        knowledge_base.metric_ingestion_lag().metric_name,
        knowledge_base.metric_retrieval_errors().metric_name,
        knowledge_base.metric_retrieval_duration().metric_name,
    }
    assert names == {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "Errors", "Duration"}
