"""What the library's parts make passes the rule packs, wherever it is deployed; `synthesize` raises otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Environment, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from parley_constructs.account import ApiGatewayLogging
from parley_constructs.dax import DaxProps
from parley_constructs.models import BedrockModels
from parley_constructs.monitoring import Monitoring, MonitoringProps
from parley_constructs.network import Network
from parley_constructs.python_function import PythonFunction
from parley_constructs.storage import Storage, StorageProps, TableBilling

from tests.infrastructure.construct_apps import code, synthesize

# This project's own feature flags change how ARNs are written, and with them the ids of findings.
FLAGS: dict[str, Any] = {
    name: value
    for name, value in json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"].items()
    if name.startswith("@aws-cdk/")
}


def build(app: App) -> None:
    env = Environment(account="123456789012", region="eu-west-1") if app.node.try_get_context("named") else None
    data = Stack(app, "Data", env=env)
    storage = Storage(
        data,
        "Storage",
        props=StorageProps(
            removal_policy=RemovalPolicy.DESTROY,
            empty_buckets=True,
            web_bucket=True,
            billing=TableBilling.provisioned(read=5, write=5, max_read=50, max_write=50),
        ),
    )
    network = Network(
        data,
        "Network",
        availability_zones=["eu-west-1a", "eu-west-1b"] if env else None,
        interface_endpoints=[ec2.InterfaceVpcEndpointAwsService.BEDROCK_RUNTIME],
        encryption_key=storage.encryption_key,
    )
    cache = storage.add_dax(DaxProps(vpc=network.vpc))
    stack = Stack(app, "Assistant", env=env)
    function = PythonFunction(
        stack,
        "Function",
        code=code(),
        handler="index.handler",
        service="function",
        encryption_key=storage.encryption_key,
        vpc=network.vpc,
        vpc_subnets=network.subnets,
    )
    cache.grant_read(function)
    BedrockModels(stack).grant_invoke(function, ["amazon.titan-embed-text-v2:0", "eu.amazon.nova-2-lite-v1:0"])
    Monitoring(
        stack,
        "Monitoring",
        props=MonitoringProps(
            name="checked", functions={"Function": function}, alarm_email="on-call@example.com", monthly_budget_usd=10
        ),
    )
    ApiGatewayLogging(Stack(app, "Account", env=env), "Logging")


@pytest.mark.parametrize("flags", [{}, {**FLAGS, "named": True}], ids=["bare app", "this project's flags, in a region"])
def test_nothing_is_found_that_nobody_answered_for(tmp_path: Path, flags: dict[str, Any]) -> None:
    def with_flags(app: App) -> None:
        for name, value in flags.items():
            app.node.set_context(name, value)
        build(app)

    synthesize(tmp_path, with_flags)

    report = json.loads((tmp_path / "validation-report.json").read_text())
    found = [violation["ruleName"] for plugin in report["pluginReports"] for violation in plugin["violations"]]
    assert [rule for rule in found if rule.startswith(("AwsSolutions", "Serverless"))] == []


def test_an_answer_for_a_functions_own_role_covers_nothing_that_is_granted_later(tmp_path: Path) -> None:
    def careless(app: App) -> None:
        function = PythonFunction(
            Stack(app, "Stack"), "Function", code=code(), handler="index.handler", service="function"
        )
        function.add_to_role_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=["*"]))

    with pytest.raises(RuntimeError, match=r"AwsSolutions-IAM5\[Resource::\*\]"):
        synthesize(tmp_path, careless)
