from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk.assertions import Match, Template
from parley_constructs.storage import Storage, StorageProps, TableBilling

TABLES = {
    "Sessions": (("session_id", "S"), None, "expires_at"),
    "Connections": (("connection_id", "S"), None, "expires_at"),
    "Credentials": (("credential_id", "S"), None, "expires_at"),
    "Conversations": (("pk", "S"), ("sk", "S"), "expires_at"),
    "Knowledge": (("pk", "S"), ("sk", "S"), "expires_at"),
    "AudioFrames": (("session_id", "S"), ("seq", "N"), "expires_at"),
    "Idempotency": (("id", "S"), None, "expiration"),
}
BUCKETS = ("AccessLogs", "Documents", "Audio", "Web")


def template(**props: Any) -> Template:
    # No account, no region, no feature flags: the least that a foreign app gives.
    stack = Stack(App(), "Stack")
    Storage(stack, "Storage", props=StorageProps(**props) if props else None)
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def defaults() -> Template:
    return template()


@pytest.fixture(scope="module")
def passing() -> Template:
    return template(
        removal_policy=RemovalPolicy.DESTROY,
        empty_buckets=True,
        web_bucket=True,
        retention_days=400,
        audio_archive_days=45,
        point_in_time_recovery=False,
        billing=TableBilling.provisioned(read=5, write=3, max_read=50),
    )


def resource(template: Template, kind: str, name: str) -> dict[str, Any]:
    [found] = [r for key, r in template.find_resources(kind).items() if key.startswith(f"Storage{name}")]
    return dict(found)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_keys_encryption_and_expiry(defaults: Template, name: str) -> None:
    partition_key, sort_key, time_to_live = TABLES[name]
    table = resource(defaults, "AWS::DynamoDB::Table", name)
    properties = table["Properties"]

    assert [key["AttributeName"] for key in properties["KeySchema"]] == [
        key[0] for key in (partition_key, sort_key) if key
    ]
    types = {a["AttributeName"]: a["AttributeType"] for a in properties["AttributeDefinitions"]}
    assert types == dict(key for key in (partition_key, sort_key) if key)
    assert properties["TimeToLiveSpecification"] == {"AttributeName": time_to_live, "Enabled": True}
    assert properties["SSESpecification"]["SSEType"] == "KMS"
    assert properties["SSESpecification"]["KMSMasterKeyId"]["Fn::GetAtt"][0].startswith("StorageEncryptionKey")
    assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["DeletionProtectionEnabled"] is True
    assert table["DeletionPolicy"] == "Retain"
    assert "TableName" not in properties


def test_only_the_knowledge_table_streams(defaults: Template) -> None:
    streams = {
        name: resource(defaults, "AWS::DynamoDB::Table", name)["Properties"].get("StreamSpecification")
        for name in TABLES
    }

    assert streams.pop("Knowledge") == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert not any(streams.values())


def test_keys_rotate_and_stay(defaults: Template) -> None:
    defaults.resource_count_is("AWS::KMS::Key", 2)
    defaults.all_resources("AWS::KMS::Key", {"DeletionPolicy": "Retain"})
    defaults.all_resources_properties("AWS::KMS::Key", {"EnableKeyRotation": True})


def test_the_data_key_admits_log_groups_of_this_account_and_the_content_key_nobody(defaults: Template) -> None:
    def admitted(name: str) -> list[Any]:
        policy = resource(defaults, "AWS::KMS::Key", name)["Properties"]["KeyPolicy"]
        return [s for s in policy["Statement"] if "Service" in s["Principal"]]

    [logs] = admitted("EncryptionKey")
    assert logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]["Fn::Join"][1][-1] == ":log-group:*"
    assert {"Ref": "AWS::AccountId"} in logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]["Fn::Join"][
        1
    ]
    assert admitted("ContentKey") == []


@pytest.mark.parametrize("name", BUCKETS)
def test_every_bucket_is_private_versioned_and_tidied(passing: Template, name: str) -> None:
    properties = resource(passing, "AWS::S3::Bucket", f"{name}")["Properties"]

    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    assert any("NoncurrentVersionExpiration" in rule for rule in rules)
    assert "BucketName" not in properties
    logged = "LoggingConfiguration" in properties
    assert logged == (name != "AccessLogs")


@pytest.mark.parametrize("name", BUCKETS)
def test_every_bucket_refuses_what_is_not_tls(passing: Template, name: str) -> None:
    policy = resource(passing, "AWS::S3::BucketPolicy", f"{name}Policy")["Properties"]["PolicyDocument"]

    assert {
        "Action": "s3:*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
    }.items() <= next(s for s in policy["Statement"] if s["Effect"] == "Deny").items()


@pytest.mark.parametrize(("name", "algorithm"), [("Documents", "aws:kms"), ("Audio", "aws:kms"), ("Web", "AES256")])
def test_data_is_under_the_key_and_what_a_browser_loads_is_not(passing: Template, name: str, algorithm: str) -> None:
    properties = resource(passing, "AWS::S3::Bucket", name)["Properties"]

    [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == algorithm


def test_documents_are_announced_without_a_function_of_the_cdks_own(defaults: Template) -> None:
    documents = resource(defaults, "AWS::S3::Bucket", "Documents")["Properties"]

    assert documents["NotificationConfiguration"] == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    defaults.resource_count_is("AWS::Lambda::Function", 0)


def test_audio_is_archived_and_then_expires(passing: Template) -> None:
    rules = resource(passing, "AWS::S3::Bucket", "Audio")["Properties"]["LifecycleConfiguration"]["Rules"]

    [rule] = [rule for rule in rules if "ExpirationInDays" in rule]
    assert rule["ExpirationInDays"] == 400
    assert rule["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 45}]


@pytest.mark.parametrize("archive_after", [None, 90, 100])
def test_audio_that_expires_first_is_never_archived(archive_after: int | None) -> None:
    rules = resource(template(retention_days=90, audio_archive_days=archive_after), "AWS::S3::Bucket", "Audio")

    assert "Transitions" not in str(rules)


def test_there_is_a_web_bucket_only_when_asked(defaults: Template, passing: Template) -> None:
    defaults.resource_count_is("AWS::S3::Bucket", 3)
    passing.resource_count_is("AWS::S3::Bucket", 4)


def test_data_that_may_go_goes_whole(passing: Template) -> None:
    passing.all_resources("AWS::DynamoDB::Table", {"DeletionPolicy": "Delete"})
    passing.all_resources_properties("AWS::DynamoDB::Table", {"DeletionProtectionEnabled": False})
    passing.resource_count_is("Custom::S3AutoDeleteObjects", 4)


def test_buckets_are_emptied_only_when_asked() -> None:
    template(removal_policy=RemovalPolicy.DESTROY).resource_count_is("Custom::S3AutoDeleteObjects", 0)
    template(empty_buckets=True).resource_count_is("Custom::S3AutoDeleteObjects", 0)


BY_REQUEST = {"Usage", "AudioFrames"}
"""Paid for by the request however the other tables are."""


def test_provisioned_capacity_follows_the_load_where_it_has_a_maximum(passing: Template) -> None:
    provisioned = {"ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 3}}
    count = len(TABLES.keys() - BY_REQUEST)
    passing.resource_properties_count_is("AWS::DynamoDB::Table", {**provisioned, "BillingMode": Match.absent()}, count)
    passing.resource_count_is("AWS::ApplicationAutoScaling::ScalableTarget", count)
    passing.all_resources_properties(
        "AWS::ApplicationAutoScaling::ScalableTarget",
        {"MinCapacity": 5, "MaxCapacity": 50, "ScalableDimension": "dynamodb:table:ReadCapacityUnits"},
    )


def test_counters_and_frames_are_paid_for_by_the_request_however_the_other_tables_are(passing: Template) -> None:
    tables = passing.find_resources("AWS::DynamoDB::Table", {"Properties": {"BillingMode": "PAY_PER_REQUEST"}})
    keys = [[key["AttributeName"] for key in table["Properties"]["KeySchema"]] for table in tables.values()]

    assert sorted(keys) == [["pk", "sk"], ["session_id", "seq"]]
    for table in tables.values():
        assert table["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
        assert table["Properties"]["SSESpecification"]["SSEType"] == "KMS"


def test_on_demand_throughput_can_be_capped() -> None:
    capped = template(billing=TableBilling.on_demand(max_read=100, max_write=20))

    capped.all_resources_properties(
        "AWS::DynamoDB::Table",
        {"OnDemandThroughput": {"MaxReadRequestUnits": 100, "MaxWriteRequestUnits": 20}},
    )


def test_pages_may_post_documents_and_recordings_from_named_origins_only() -> None:
    origins = ["https://talk.example.com", "https://*.example.org"]
    buckets = template(upload_origins=origins).find_resources("AWS::S3::Bucket")
    rules = {name: bucket["Properties"].get("CorsConfiguration") for name, bucket in buckets.items()}
    wanted = {"CorsRules": [{"AllowedMethods": ["POST"], "AllowedOrigins": origins, "MaxAge": 3600}]}
    assert [rules.pop(name) for name in list(rules) if "Documents" in name or "Audio" in name] == [wanted, wanted]
    assert set(rules.values()) == {None}


def test_no_page_may_post_unless_its_origin_is_named(defaults: Template) -> None:
    defaults.resource_properties_count_is("AWS::S3::Bucket", {"CorsConfiguration": Match.any_value()}, 0)
