"""What lets the templates deploy to an account that has never seen them, and keeps them from locking each other."""

import json
from typing import Any

import pytest

from tests.infrastructure.assemblies import Assembly, Synth

# Services that a function's role names and that never leave its network as the function's own call.
_WITHOUT_ENDPOINT = {
    "dynamodb": "gateway endpoint",
    "s3": "gateway endpoint",
    "logs": "Lambda writes them",
    "xray": "Lambda's daemon sends them",
    "ec2": "Lambda attaches the network interfaces",
    "kms": "S3 and DynamoDB use the keys on the function's behalf",
    "dax": "the cluster is inside the network",
}
_ENDPOINTS = {
    "bedrock": "bedrock-runtime",
    "aoss": "OpenSearch's own",
    "s3vectors": "s3vectors",
    "secretsmanager": "secretsmanager",
}


@pytest.fixture
def dev(synth: Synth) -> Assembly:
    return synth("dev")


@pytest.fixture
def prod(synth: Synth) -> Assembly:
    return synth("prod")


def actions_of(policies: list[dict[str, Any]]) -> set[str]:
    actions: set[str] = set()
    for statement in (statement for policy in policies for statement in policy["Statement"]):
        named = statement["Action"]
        actions |= set(named if isinstance(named, list) else [named])
    return actions


def role_policies(assembly: Assembly, handler: str) -> list[dict[str, Any]]:
    """Inline and attached policies of the role of the function that runs `handler`."""
    for template in assembly.templates.values():
        for function in template["Resources"].values():
            if function["Type"] == "AWS::Lambda::Function" and function["Properties"].get("Handler") == handler:
                role = function["Properties"]["Role"]["Fn::GetAtt"][0]
                inline = template["Resources"][role]["Properties"].get("Policies", [])
                attached = [
                    resource["Properties"]["PolicyDocument"]
                    for resource in template["Resources"].values()
                    if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]
                ]
                return [policy["PolicyDocument"] for policy in inline] + attached
    raise AssertionError(f"No function runs {handler}.")


def test_account_may_log_before_any_stage_with_access_logs_exists(dev: Assembly) -> None:
    assert [name for name, _ in dev.resources("AWS::ApiGateway::Account")] != []
    assert "Parley-Account" in dev.manifest["artifacts"]["Parley-dev-Assistant"]["dependencies"]
    stages = list(dev.resources("AWS::ApiGatewayV2::Stage"))
    assert len(stages) == 2
    assert all("AccessLogSettings" in stage["Properties"] for _, stage in stages)


def test_documents_are_announced_through_eventbridge_and_by_no_notification(dev: Assembly) -> None:
    rules = [rule["Properties"] for _, rule in dev.resources("AWS::Events::Rule", part="Knowledge")]

    assert any("documents/" in json.dumps(rule["EventPattern"]) for rule in rules)
    for name, bucket in dev.resources("AWS::S3::Bucket"):
        notifications = bucket["Properties"].get("NotificationConfiguration", {})
        assert set(notifications) <= {"EventBridgeConfiguration"}, name
    assert list(dev.resources("Custom::S3BucketNotifications")) == []


@pytest.mark.parametrize("env", ["local", "dev", "staging", "prod"])
def test_no_stack_waits_for_one_that_waits_for_it(synth: Synth, env: str) -> None:
    artifacts = synth(env).manifest["artifacts"]
    waits = {
        name: {other for other in artifact.get("dependencies", []) if other in synth(env).templates}
        for name, artifact in artifacts.items()
        if name in synth(env).templates
    }
    deployed: set[str] = set()
    while ready := {name for name, others in waits.items() if others <= deployed and name not in deployed}:
        deployed |= ready

    assert deployed == set(waits)


def test_functions_do_not_depend_on_their_own_permissions_to_invoke(dev: Assembly) -> None:
    for stack, template in dev.templates.items():
        policies = {
            name: json.dumps(resource["Properties"])
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::IAM::Policy"
        }
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::Lambda::Function":
                for dependency in resource.get("DependsOn", []):
                    assert f'"{name}"' not in policies.get(dependency, ""), f"{stack}/{name}"


def test_alarm_topic_has_a_key_of_ours_that_admits_cloudwatch_and_budgets(dev: Assembly) -> None:
    [(_, topic)] = dev.resources("AWS::SNS::Topic", part="Monitoring")
    output = topic["Properties"]["KmsMasterKeyId"]["Fn::GetStackOutput"]["OutputName"]
    key = dev.stack("Data")["Outputs"][output]["Value"]["Fn::GetAtt"][0]
    policy = dev.stack("Data")["Resources"][key]["Properties"]["KeyPolicy"]

    admitted = json.dumps([statement["Principal"] for statement in policy["Statement"]])
    assert "cloudwatch.amazonaws.com" in admitted
    assert "budgets.amazonaws.com" in admitted


@pytest.mark.parametrize("env", ["local", "dev", "staging", "prod"])
def test_no_function_reserves_concurrency_that_a_new_account_does_not_have(synth: Synth, env: str) -> None:
    for name, function in synth(env).resources("AWS::Lambda::Function"):
        assert "ReservedConcurrentExecutions" not in function["Properties"], name
    for name, mapping in synth(env).resources("AWS::Lambda::EventSourceMapping"):
        assert "ProvisionedPollerConfig" not in mapping["Properties"], name


@pytest.mark.parametrize("store", ["opensearch", "s3vectors"])
def test_isolated_function_has_an_endpoint_for_every_service_that_it_calls(synth: Synth, store: str) -> None:
    # The second is the pairwise suite's row, so that it costs no synth of its own.
    assembly = synth("prod") if store == "opensearch" else synth("dev", **_ISOLATED_S3_VECTORS)
    services = {action.split(":")[0] for action in actions_of(role_policies(assembly, _RETRIEVAL))}
    endpoints = [
        json.dumps(endpoint["Properties"]["ServiceName"]) for _, endpoint in assembly.resources("AWS::EC2::VPCEndpoint")
    ]

    assert any(".dynamodb" in name for name in endpoints)
    assert any(".s3" in name for name in endpoints)
    called = services - set(_WITHOUT_ENDPOINT)
    assert called <= set(_ENDPOINTS)
    for service in called:
        if service == "aoss":
            assert list(assembly.resources("AWS::OpenSearchServerless::VpcEndpoint")) != []
        else:
            assert any(_ENDPOINTS[service] in name for name in endpoints), service


_RETRIEVAL = "parley.functions.retrieval.handler"
_ISOLATED_S3_VECTORS = {
    "region": "eu-west-1",
    "enableRag": True,
    "vectorStore": "s3vectors",
    "enableVoice": True,
    "enableDax": True,
    "auth": "api-key",
    "enableWaf": False,
}


def test_functions_that_post_to_connections_are_outside_the_network(prod: Assembly) -> None:
    inside = {
        function["Properties"]["Handler"]
        for _, function in prod.resources("AWS::Lambda::Function")
        if "VpcConfig" in function["Properties"]
    }

    assert inside == {_RETRIEVAL}
    posting = [
        handler
        for handler in ("turn", "websocket")
        if "execute-api:ManageConnections" in actions_of(role_policies(prod, f"parley.functions.{handler}.handler"))
    ]
    assert posting == ["turn", "websocket"]


def test_network_is_referred_to_strongly_and_the_rest_weakly(prod: Assembly) -> None:
    # Weak references would replace what stands in the network; strong ones keep a flag from being turned off.
    for stack, template in prod.templates.items():
        text = json.dumps(template)
        imports = text.count('{"Fn::ImportValue": ')
        assert imports == text.count('{"Fn::ImportValue": "Parley-prod-Network:'), stack
        assert '"StackName": "Parley-prod-Network"' not in text, stack


def test_functions_may_do_what_they_do_and_nothing_more(dev: Assembly) -> None:
    exactly = {
        "ticket_authorizer": {"dynamodb:DeleteItem"},
        # Whoever answers people counts them.
        "health": {"dynamodb:GetItem", "dynamodb:UpdateItem", "lambda:InvokeFunction"},
        "tickets": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "websocket": {
            "dynamodb:BatchGetItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            "lambda:InvokeFunction",
            "execute-api:ManageConnections",
        },
    }
    allowed = {
        handler: {
            action
            for action in actions_of(role_policies(dev, f"parley.functions.{handler}.handler"))
            if action.split(":")[0] not in {"logs", "xray", "kms"}
        }
        for handler in exactly
    }

    assert allowed == exactly
    for handler in ("chat", "turn", "websocket", "conversations", "documents"):
        actions = actions_of(role_policies(dev, f"parley.functions.{handler}.handler"))
        assert not any(action.endswith("*") for action in actions), handler
        assert "dynamodb:Scan" not in actions, handler


def test_turns_and_session_workers_are_invoked_once_or_not_at_all(dev: Assembly) -> None:
    configs = [config["Properties"] for _, config in dev.resources("AWS::Lambda::EventInvokeConfig")]

    assert len(configs) == 2
    for config in configs:
        assert config["MaximumRetryAttempts"] == 0
        assert config["MaximumEventAgeInSeconds"] == 60


def test_without_documents_nothing_of_the_knowledge_path_is_deployed(synth: Synth) -> None:
    assembly = synth("dev", blueprint="personal-chatbot")

    assert "Parley-dev-Knowledge" not in assembly.templates
    for name, function in assembly.resources("AWS::Lambda::Function"):
        properties = function["Properties"]
        assert "RETRIEVAL_FUNCTION" not in properties.get("Environment", {}).get("Variables", {}), name
        assert properties["Handler"] not in {_RETRIEVAL, "parley.functions.documents.handler"}, name


def test_nothing_has_a_physical_name_that_nobody_typed(prod: Assembly) -> None:
    names = {
        "AWS::DynamoDB::Table": "TableName",
        "AWS::S3::Bucket": "BucketName",
        "AWS::Lambda::Function": "FunctionName",
        "AWS::IAM::Role": "RoleName",
        "AWS::SQS::Queue": "QueueName",
        "AWS::SNS::Topic": "TopicName",
        "AWS::Cognito::UserPool": "UserPoolName",
        "AWS::Events::Rule": "Name",
        "AWS::KMS::Alias": "AliasName",
        "AWS::DAX::Cluster": "ClusterName",
    }

    named = [name for name, resource in prod.resources(*names) if names[resource["Type"]] in resource["Properties"]]

    assert named == []
