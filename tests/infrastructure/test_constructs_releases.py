"""CanaryReleases: who moves the alias, when a release is taken back, and what it may touch."""

from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from parley_constructs.python_function import PythonFunction
from parley_constructs.releases import CanaryReleases

from tests.infrastructure.construct_apps import Template, code, of_type, only, statements, synthesize


def _build(app: App) -> None:
    stack = Stack(app, "Assistant")
    failing = cloudwatch.Metric(namespace="AWS/ApiGateway", metric_name="5xx")
    alarm = failing.create_alarm(stack, "ApiFails", threshold=1, evaluation_periods=1)
    releases = CanaryReleases(stack, "Releases", percent=20, interval=Duration.minutes(3), alarms=[alarm])
    for name in ("Answer", "Other"):
        releases.release(PythonFunction(stack, name, code=code(), handler="index.handler", service=name.lower()))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return synthesize(tmp_path_factory.mktemp("releases"), _build)["Assistant"]


def _function(template: Template, name: str) -> str:
    [found] = [each for each in of_type(template, "AWS::Lambda::Function") if each.startswith(name)]
    return found


def test_code_deploy_moves_the_alias_of_each_function(template: Template) -> None:
    groups = of_type(template, "AWS::CodeDeploy::DeploymentGroup")
    updated = {}
    for alias in of_type(template, "AWS::Lambda::Alias").values():
        update = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        updated[alias["Properties"]["FunctionName"]["Ref"]] = update["DeploymentGroupName"]["Ref"]
    assert set(updated) == {_function(template, "Answer"), _function(template, "Other")}
    assert set(updated.values()) == set(groups)


def test_a_canary_gets_the_share_and_the_time_that_it_was_given(template: Template) -> None:
    config = only(template, "AWS::CodeDeploy::DeploymentConfig")
    assert config["TrafficRoutingConfig"]["TimeBasedCanary"] == {"CanaryInterval": 3, "CanaryPercentage": 20}
    # It cannot be changed in place: one with other numbers needs another name.
    assert config["DeploymentConfigName"].endswith("-20-in-3-min")


def test_errors_of_the_new_version_and_alarms_of_ones_own_take_a_release_back(template: Template) -> None:
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    for group in of_type(template, "AWS::CodeDeploy::DeploymentGroup").values():
        properties = group["Properties"]
        assert properties["AutoRollbackConfiguration"] == {
            "Enabled": True,
            "Events": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"],
        }
        watched = [alarms[each["Name"]["Ref"]]["Properties"] for each in properties["AlarmConfiguration"]["Alarms"]]
        assert {alarm["MetricName"] for alarm in watched} == {"Errors", "5xx"}


def test_the_alarm_counts_the_new_version_alone(template: Template) -> None:
    function = _function(template, "Answer")
    alarm = only(template, "AWS::CloudWatch::Alarm", having="AnswerErrors")
    dimensions: dict[str, Any] = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert dimensions["FunctionName"] == {"Ref": function}
    assert dimensions["Resource"] == {"Fn::Join": ["", [{"Ref": function}, ":live"]]}
    [version] = [name for name in of_type(template, "AWS::Lambda::Version") if name.startswith("Answer")]
    assert dimensions["ExecutedVersion"] == {"Fn::GetAtt": [version, "Version"]}
    assert alarm["TreatMissingData"] == "notBreaching"


def test_it_may_move_these_aliases_and_no_others(template: Template) -> None:
    role = only(template, "AWS::IAM::Role", having="ReleasesRole")
    assert "ManagedPolicyArns" not in role
    resources = str([each["Resource"] for each in statements(template, "ReleasesRole") if "lambda" in str(each)])
    assert "*" not in resources
    for name in ("Answer", "Other"):
        assert _function(template, name) in resources


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"percent": 0}, "percent was 0"),
        ({"percent": 100}, "percent was 100"),
        ({"interval": Duration.seconds(30)}, "interval was 30 seconds"),
        ({"interval": Duration.seconds(90)}, "interval was"),
    ],
)
def test_what_code_deploy_would_refuse_is_refused_at_synth(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CanaryReleases(Stack(App(), "Assistant"), "Releases", **arguments)
