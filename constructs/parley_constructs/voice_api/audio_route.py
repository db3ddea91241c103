"""The `audio` route: API Gateway writes a frame into the audio-frames table itself, with no function on the way."""

from importlib.resources import files

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

from parley_constructs.findings import acknowledge

AUTHORIZED_ON_CONNECT = (
    "API Gateway takes an authorizer on $connect alone; its verdict holds for every message of the connection."
)

_TEMPLATE = files(__package__).joinpath("audio_frame.vtl")


# What DynamoDB does with a table's key on behalf of a caller who writes; CDK's own grants say `kms:ReEncrypt*`.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
_TABLE_KEY_ACTIONS = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


def audio_frame_template(*, table_name: str, keep_for: Duration) -> str:
    """The Velocity template that makes a PutItem request of an `audio` message.

    The item is keyed by the session id that the authorizer put into the connection's context; nothing in the body
    can choose another. Every value from the body is escaped. What is no number or no base64 is refused by DynamoDB.
    """
    return (
        _TEMPLATE.read_text(encoding="utf-8")
        .replace("@TABLE_NAME@", table_name)
        .replace("@TTL_SECONDS@", str(int(keep_for.to_seconds())))
    )


class AudioRoute(Construct):
    """The one-way route `audio` of a WebSocket API, into a table keyed by `session_id` (S) and `seq` (N)."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        websocket_api: apigwv2.WebSocketApi,
        table: dynamodb.ITable,
        keep_for: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            description="Lets the audio route put frames into the audio-frames table",
        )
        # PutItem alone: grant_write_data would also delete and batch.
        table.grant(self.role, "dynamodb:PutItem")
        if table.encryption_key is not None:
            table.encryption_key.grant(self.role, *_TABLE_KEY_ACTIONS)
        route = websocket_api.add_route(
            "audio",
            integration=integrations.WebSocketAwsIntegration(
                "PutFrame",
                integration_uri=f"arn:{Stack.of(self).partition}:apigateway:{Stack.of(self).region}:dynamodb:action/PutItem",
                integration_method="POST",
                credentials_role=self.role,
                passthrough_behavior=apigwv2.PassthroughBehavior.NEVER,
                template_selection_expression="\\$default",
                request_templates={"$default": audio_frame_template(table_name=table.table_name, keep_for=keep_for)},
                timeout=Duration.seconds(5),
            ),
        )
        acknowledge(route, {"AwsSolutions-APIG4": AUTHORIZED_ON_CONNECT})
