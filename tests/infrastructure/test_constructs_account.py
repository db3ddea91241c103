from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk.assertions import Template
from parley_constructs.account import ApiGatewayLogging


def template(removal_policy: RemovalPolicy | None = None) -> Template:
    stack = Stack(App(), "Stack")
    options = {} if removal_policy is None else {"removal_policy": removal_policy}
    ApiGatewayLogging(stack, "Logging", **options)
    return Template.from_stack(stack)


def test_registers_a_role_that_api_gateway_may_write_logs_with() -> None:
    made = template()

    [(role_id, role)] = made.find_resources("AWS::IAM::Role").items()
    assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "apigateway.amazonaws.com"
    }
    made.has_resource(
        "AWS::ApiGateway::Account",
        # It depends on the role: API Gateway tries it when it is registered.
        {"Properties": {"CloudWatchRoleArn": {"Fn::GetAtt": [role_id, "Arn"]}}, "DependsOn": [role_id]},
    )


def test_outlives_its_stack_because_other_apis_use_it() -> None:
    for kind in ("AWS::IAM::Role", "AWS::ApiGateway::Account"):
        template().all_resources(kind, {"DeletionPolicy": "Retain"})
        template(RemovalPolicy.DESTROY).all_resources(kind, {"DeletionPolicy": "Delete"})
