"""What an AWS account needs once in each region, whatever is deployed there."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from constructs import Construct

from parley_constructs.findings import acknowledge

_POLICY = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"


class ApiGatewayLogging(Construct):
    """The role through which API Gateway writes logs, registered by `AWS::ApiGateway::Account`.

    Without it the first deployment of an API with access logs fails in a fresh account. There is one setting for the
    whole account and region, so this belongs in a stack of its own, deployed once. Both resources outlive that stack
    unless told otherwise: other APIs may have come to rely on them.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, removal_policy: RemovalPolicy = RemovalPolicy.RETAIN
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(_POLICY)],
        )
        acknowledge(
            self.role,
            {
                f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{_POLICY}]": (
                    "API Gateway documents this policy for this role and refuses a role that allows less."
                )
            },
        )
        self.role.apply_removal_policy(removal_policy)
        self.account = apigateway.CfnAccount(self, "Account", cloud_watch_role_arn=self.role.role_arn)
        self.account.apply_removal_policy(removal_policy)
        # API Gateway tries the role when it is registered: its permissions have to be there by then.
        self.account.node.add_dependency(self.role)
