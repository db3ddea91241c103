"""The vector stores: what each makes, who may read and write it, and how an isolated function reaches it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from aws_cdk import App, LegacyStackSynthesizer, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from parley_constructs.findings import acknowledge
from parley_constructs.knowledge_base import KnowledgeBase, KnowledgeBaseProps, VectorStore

from tests.infrastructure.construct_apps import Template, actions, code, of_type, only, synthesize

_STORES = {
    "S3Vectors": VectorStore.s3_vectors(),
    "NextGen": VectorStore.opensearch(max_capacity_units=4),
    "Classic": VectorStore.opensearch(generation="classic", standby_replicas=False),
    "Isolated": VectorStore.opensearch(),
    "Moving": VectorStore.s3_vectors(),
}
_PREVIOUS = {"Moving": VectorStore.opensearch()}


def _build(app: App) -> None:
    data = Stack(app, "Data")
    bucket = s3.Bucket(data, "Documents", enforce_ssl=True)
    acknowledge(bucket, {"AwsSolutions-S1": "Stands in for the documents bucket."})
    table = dynamodb.Table(
        data,
        "Knowledge",
        partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
    )
    for name, store in _STORES.items():
        stack = Stack(app, name)
        vpc = _vpc(stack) if name == "Isolated" else None
        KnowledgeBase(
            stack,
            "KnowledgeBase",
            props=KnowledgeBaseProps(
                documents_bucket=bucket,
                knowledge_table=table,
                vector_store=store,
                previous_vector_store=_PREVIOUS.get(name),
                code=code(),
                ingestion_handler="index.handler",
                retrieval_handler="index.handler",
                embedding_model="amazon.titan-embed-text-v2:0",
                vpc=vpc,
                vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED) if vpc else None,
                security_groups=[ec2.SecurityGroup(stack, "Functions", vpc=vpc)] if vpc else (),
            ),
        )


def _vpc(stack: Stack) -> ec2.Vpc:
    vpc = ec2.Vpc(
        stack,
        "Vpc",
        nat_gateways=0,
        restrict_default_security_group=False,
        subnet_configuration=[ec2.SubnetConfiguration(name="data", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)],
    )
    acknowledge(vpc, {"AwsSolutions-VPC7": "Stands in for the network."})
    return vpc


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("vector_stores"), _build)


def _policy(template: Template, resource_type: str, kind: str) -> list[dict[str, Any]]:
    """A policy of OpenSearch Serverless: JSON in a string, with references in between."""
    [text] = [
        each["Properties"]["Policy"]
        for each in of_type(template, resource_type).values()
        if each["Properties"]["Type"] == kind
    ]
    parts = text["Fn::Join"][1] if isinstance(text, dict) else [text]
    written = "".join(part if isinstance(part, str) else json.dumps(part).replace('"', "'") for part in parts)
    policy = json.loads(written)
    return policy if isinstance(policy, list) else [policy]


def test_s3_vectors_keeps_the_text_out_of_the_filterable_metadata(templates: dict[str, Template]) -> None:
    indexes = of_type(templates["S3Vectors"], "AWS::S3Vectors::Index").values()
    assert len(indexes) == 2
    for index in (each["Properties"] for each in indexes):
        assert index["MetadataConfiguration"] == {"NonFilterableMetadataKeys": ["text"]}
        assert (index["Dimension"], index["DistanceMetric"], index["DataType"]) == (1024, "cosine", "float32")


def test_s3_vectors_key_admits_the_indexing_service(templates: dict[str, Template]) -> None:
    template = templates["S3Vectors"]
    bucket = only(template, "AWS::S3Vectors::VectorBucket")
    assert bucket["EncryptionConfiguration"]["SseType"] == "aws:kms"
    [statement] = [
        each
        for each in only(template, "AWS::KMS::Key")["KeyPolicy"]["Statement"]
        if each["Principal"] == {"Service": "indexing.s3vectors.amazonaws.com"}
    ]
    assert statement["Action"] == "kms:Decrypt"
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_s3_vectors_retrieval_cannot_write(templates: dict[str, Template]) -> None:
    template = templates["S3Vectors"]
    assert {each for each in actions(template, "Retrieval") if each.startswith("s3vectors:")} == {
        "s3vectors:QueryVectors",
        "s3vectors:GetVectors",
    }
    assert {each for each in actions(template, "Ingestion") if each.startswith("s3vectors:")} == {
        "s3vectors:PutVectors",
        "s3vectors:DeleteVectors",
    }


@pytest.mark.parametrize(("stack", "standby"), [("NextGen", "ENABLED"), ("Classic", "DISABLED")])
def test_collections_are_encrypted_with_our_key_before_they_exist(
    templates: dict[str, Template], stack: str, standby: str
) -> None:
    template = templates[stack]
    [collection] = of_type(template, "AWS::OpenSearchServerless::Collection").values()
    assert collection["Properties"]["Type"] == "VECTORSEARCH"
    assert collection["Properties"]["StandbyReplicas"] == standby
    assert len([each for each in collection["DependsOn"] if "Encryption" in each or "Network" in each]) == 2
    [encryption] = _policy(template, "AWS::OpenSearchServerless::SecurityPolicy", "encryption")
    assert encryption["AWSOwnedKey"] is False
    assert encryption["Rules"][0]["Resource"] == [f"collection/{collection['Properties']['Name']}"]


def test_next_generation_collections_may_scale_to_zero_and_have_a_ceiling(templates: dict[str, Template]) -> None:
    group = only(templates["NextGen"], "AWS::OpenSearchServerless::CollectionGroup")
    assert group["Generation"] == "NEXTGEN"
    assert group["CapacityLimits"] == {"MaxIndexingCapacityInOcu": 4, "MaxSearchCapacityInOcu": 4}
    collection = only(templates["NextGen"], "AWS::OpenSearchServerless::Collection")
    assert collection["CollectionGroupName"] == group["Name"]
    assert collection["StandbyReplicas"] == group["StandbyReplicas"]
    [resource] = of_type(templates["NextGen"], "AWS::OpenSearchServerless::Collection").values()
    assert any("Group" in each for each in resource["DependsOn"])
    assert not of_type(templates["Classic"], "AWS::OpenSearchServerless::CollectionGroup")


def test_names_fit_the_service(templates: dict[str, Template]) -> None:
    names = [
        each["Properties"]["Name"]
        for stack in ("NextGen", "Classic", "Isolated")
        for each in templates[stack]["Resources"].values()
        if each["Type"].startswith("AWS::OpenSearchServerless::") and "Name" in each["Properties"]
    ]
    assert names
    for name in names:
        assert 3 <= len(name) <= 32
        assert name == name.lower()
    assert len(set(names)) == 3


@pytest.mark.parametrize("stack", ["NextGen", "Classic"])
def test_the_index_waits_for_leave_to_make_it(templates: dict[str, Template], stack: str) -> None:
    template = templates[stack]
    rules = _policy(template, "AWS::OpenSearchServerless::AccessPolicy", "data")
    by_permission = {tuple(rule["Rules"][0]["Permission"]): rule["Principal"] for rule in rules}
    [deployer] = [principals for permissions, principals in by_permission.items() if "aoss:CreateIndex" in permissions]
    assert "cfn-exec-role" in deployer[0]
    indexes = of_type(template, "AWS::OpenSearchServerless::Index").values()
    assert [each["Properties"]["IndexName"] for each in indexes] == ["passages-a", "passages-b"]
    for index in indexes:
        assert any("Access" in each for each in index["DependsOn"])


@pytest.mark.parametrize("stack", ["NextGen", "Classic"])
def test_ingestion_writes_and_retrieval_reads(templates: dict[str, Template], stack: str) -> None:
    rules = _policy(templates[stack], "AWS::OpenSearchServerless::AccessPolicy", "data")
    writers = [rule["Principal"] for rule in rules if "aoss:WriteDocument" in rule["Rules"][0]["Permission"]]
    readers = [rule["Principal"] for rule in rules if rule["Rules"][0]["Permission"][-1] == "aoss:ReadDocument"]
    assert len(writers) == len(readers) == 1
    assert "Ingestion" in str(writers)
    assert "Retrieval" in str(readers)
    for function in ("Ingestion", "Retrieval"):
        assert "aoss:APIAccessAll" in actions(templates[stack], function)


def test_the_index_serves_meaning_and_words(templates: dict[str, Template]) -> None:
    index = only(templates["NextGen"], "AWS::OpenSearchServerless::Index", having="IndexA")
    assert (
        index["Mappings"] == only(templates["NextGen"], "AWS::OpenSearchServerless::Index", having="IndexB")["Mappings"]
    )
    fields = index["Mappings"]["Properties"]
    assert fields["vector"]["Type"] == "knn_vector"
    assert fields["vector"]["Dimension"] == 1024
    assert fields["vector"]["Method"]["Name"] == "hnsw"
    assert fields["vector"]["Method"]["SpaceType"] == "cosinesimil"
    assert fields["text"]["Type"] == "text"
    assert {fields[name]["Type"] for name in ("owner", "document_id", "version")} == {"keyword"}
    # What the runtime's store writes; tests/unit/opensearch_double.py takes the same set.
    assert set(fields) == {"owner", "document_id", "version", "chunk", "fields", "text", "vector"}
    assert index["Settings"]["Index"]["Knn"] is True


@pytest.mark.parametrize(
    ("stack", "variables"),
    [
        ("S3Vectors", {"VECTOR_STORE": "s3vectors", "VECTOR_INDEX_ARN_A": "IndexA", "VECTOR_INDEX_ARN_B": "IndexB"}),
        ("NextGen", {"VECTOR_STORE": "opensearch", "COLLECTION_ENDPOINT": "CollectionEndpoint", "VECTOR_INDEX": ""}),
    ],
)
def test_functions_know_their_store(templates: dict[str, Template], stack: str, variables: dict[str, str]) -> None:
    for name, function in of_type(templates[stack], "AWS::Lambda::Function").items():
        if "Ingestion" in name or "Retrieval" in name:
            environment = function["Properties"]["Environment"]["Variables"]
            for variable, value in variables.items():
                assert value in str(environment[variable])


def test_with_a_previous_store_functions_know_and_may_use_both(templates: dict[str, Template]) -> None:
    template = templates["Moving"]
    for function in ("Ingestion", "Retrieval"):
        environment = only(template, "AWS::Lambda::Function", having=function)["Environment"]["Variables"]
        assert (environment["VECTOR_STORE"], environment["PREVIOUS_VECTOR_STORE"]) == ("s3vectors", "opensearch")
        assert {"VECTOR_INDEX_ARN_A", "VECTOR_INDEX_ARN_B", "COLLECTION_ENDPOINT", "VECTOR_INDEX"} <= set(environment)
    assert {"s3vectors:PutVectors", "aoss:APIAccessAll"} <= actions(template, "Ingestion")
    assert {"s3vectors:QueryVectors", "aoss:APIAccessAll"} <= actions(template, "Retrieval")
    rules = _policy(template, "AWS::OpenSearchServerless::AccessPolicy", "data")
    assert [rule["Rules"][0]["Permission"][-1] for rule in rules[1:]] == ["aoss:ReadDocument", "aoss:WriteDocument"]


def test_a_store_is_not_its_own_forerunner() -> None:
    stack = Stack(App(), "Twice")
    key = dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING)
    props = KnowledgeBaseProps(
        documents_bucket=s3.Bucket(stack, "Documents"),
        knowledge_table=dynamodb.Table(stack, "Table", partition_key=key),
        vector_store=VectorStore.faiss(),
        previous_vector_store=VectorStore.faiss(),
        code=code(),
        ingestion_handler="index.handler",
        retrieval_handler="index.handler",
        embedding_model="amazon.titan-embed-text-v2:0",
    )
    with pytest.raises(ValueError, match="Both the vector store and the previous one are 'faiss'"):
        KnowledgeBase(stack, "KnowledgeBase", props=props)


def test_an_isolated_function_has_an_endpoint_to_its_collection(templates: dict[str, Template]) -> None:
    template = templates["Isolated"]
    endpoint = next(iter(of_type(template, "AWS::OpenSearchServerless::VpcEndpoint")))
    rules = _policy(template, "AWS::OpenSearchServerless::SecurityPolicy", "network")
    assert [rule["AllowFromPublic"] for rule in rules] == [True, False]
    assert endpoint in rules[1]["SourceVPCEs"][0]
    functions = of_type(template, "AWS::Lambda::Function")
    placed = {name for name, each in functions.items() if "VpcConfig" in each["Properties"]}
    assert [name for name in functions if "Retrieval" in name] == list(placed)
    [ingress] = [
        each["Properties"]
        for name, each in of_type(template, "AWS::EC2::SecurityGroupIngress").items()
        if "Endpoint" in name
    ]
    assert (ingress["FromPort"], ingress["ToPort"]) == (443, 443)


def test_a_store_names_the_endpoints_it_needs() -> None:
    def names(*stores: VectorStore) -> list[str]:
        return [endpoint.short_name for endpoint in KnowledgeBase.interface_endpoints(*stores)]

    assert names(VectorStore.faiss()) == ["bedrock-runtime"]
    assert names(VectorStore.s3_vectors()) == ["bedrock-runtime", "s3vectors"]
    assert names(VectorStore.opensearch()) == ["bedrock-runtime"]
    assert names(VectorStore.opensearch(), VectorStore.s3_vectors()) == ["bedrock-runtime", "s3vectors"]


def test_an_unknown_generation_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="'third'; allowed are 'classic' and 'nextgen'"):
        VectorStore.opensearch(generation="third")  # type: ignore[arg-type] # the very mistake


def test_a_synthesizer_without_a_deployment_role_needs_one_named() -> None:
    stack = Stack(App(), "Old", synthesizer=LegacyStackSynthesizer())
    bucket = s3.Bucket(stack, "Documents")
    table = dynamodb.Table(
        stack, "Table", partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING)
    )
    props = KnowledgeBaseProps(
        documents_bucket=bucket,
        knowledge_table=table,
        vector_store=VectorStore.opensearch(),
        code=code(),
        ingestion_handler="index.handler",
        retrieval_handler="index.handler",
        embedding_model="amazon.titan-embed-text-v2:0",
    )
    with pytest.raises(ValueError, match="deployment_role_arn"):
        KnowledgeBase(stack, "KnowledgeBase", props=props)
    named = VectorStore.opensearch(deployment_role_arn="arn:aws:iam::111111111111:role/deployer")
    KnowledgeBase(stack, "Named", props=replace(props, vector_store=named))
