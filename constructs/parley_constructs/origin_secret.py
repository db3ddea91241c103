"""A secret by which a CDN proves to an API that requests come through it, and its rotation."""

from aws_cdk import Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.python_function import PythonFunction

ORIGIN_HEADER = "x-parley-origin"
"""The header that carries the secret from the CDN to the API."""

_ROTATED_ELSEWHERE = (
    "OriginSecretRotation rotates it, in the stack of the distribution that sends it: that stack comes after those of "
    "the functions that read the secret, so the schedule cannot stand beside it."
)


class OriginSecret(Construct):
    """A random value that a distribution sends to its origins, and functions behind them ask for.

    It is JSON: `{"current", "next", "previous"}`, of which a new one has `current` alone. The distribution sends
    `current`. Readers accept all three: so a rotation switches to a value that they have known since the rotation
    before, and a deployment that goes back sends one that they still know. See `OriginSecretRotation`.

    Args:
        encryption_key: of the secret. `grant_read` admits readers to it, through Secrets Manager alone.

    Attributes:
        secret: the secret. header_value: `current`, as a template refers to it: CloudFormation reads it when it creates
            or changes the resource that has it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        encryption_key: kms.IKey,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, construct_id)
        self.encryption_key = encryption_key
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description="Proves to the APIs that a request came through CloudFront",
            encryption_key=encryption_key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",  # noqa: S106 - an empty object, which the service fills
                generate_string_key="current",
                password_length=43,
                exclude_punctuation=True,
            ),
            removal_policy=removal_policy,
        )
        acknowledge(self.secret, {"AwsSolutions-SMG4": _ROTATED_ELSEWHERE})

    @property
    def header_value(self) -> str:
        """What the distribution sends, as a dynamic reference: no template holds the value."""
        return Fn.join("", ["{{resolve:secretsmanager:", self.secret.secret_arn, ":SecretString:current}}"])

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` read the secret."""
        return self._grant(grantee, ["secretsmanager:GetSecretValue"], ["kms:Decrypt"])

    def grant_rotate(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` write the secret's next version."""
        actions = ["DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"]
        return self._grant(
            grantee, [f"secretsmanager:{action}" for action in actions], ["kms:Decrypt", "kms:GenerateDataKey"]
        )

    def _grant(self, grantee: iam.IGrantable, actions: list[str], key_actions: list[str]) -> iam.Grant:
        # On the grantee alone: the secret's and the key's own policies cannot name roles of stacks that come later.
        grant = iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=[self.secret.secret_arn])
        through = f"secretsmanager.{Stack.of(self).region}.{Stack.of(self).url_suffix}"
        return grant.combine(
            iam.Grant.add_to_principal(
                grantee=grantee,
                actions=key_actions,
                resource_arns=[self.encryption_key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": through}},
            )
        )


class OriginSecretRotation(Construct):
    """Rotates an OriginSecret: a function that gives the distribution's origins the secret's next value.

    The function is called for each of Secrets Manager's four steps, with `DISTRIBUTION_ID`, `ORIGIN_HEADER` and
    `API_URL` in its environment. CloudFront takes minutes to take a value up everywhere: the function waits for it, up
    to Lambda's 15 minutes a step, and Secrets Manager begins again what does not end by then. The first rotation
    begins with the deployment.

    Args:
        distribution: sends the secret, in the header ORIGIN_HEADER of its origins.
        api_url: where a value can be tried before it is sent: `GET <api_url>/health` answers 403 to one not accepted.
        code, handler: of the function.
        every: how long a value is used; a value is accepted for three times as long.

    Attributes:
        function: the function. schedule: the schedule.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        secret: OriginSecret,
        distribution: cloudfront.IDistribution,
        api_url: str,
        code: lambda_.Code,
        handler: str,
        every: Duration | None = None,
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        log_encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = PythonFunction(
            self,
            "Function",
            code=code,
            handler=handler,
            service="origin_rotation",
            description="Rotates the secret by which CloudFront proves itself to the APIs",
            environment={
                "DISTRIBUTION_ID": distribution.distribution_id,
                "ORIGIN_HEADER": ORIGIN_HEADER,
                "API_URL": api_url,
            },
            timeout=Duration.minutes(15),
            memory_size=256,
            architecture=architecture,
            log_retention=log_retention,
            log_removal_policy=RemovalPolicy.DESTROY,
            encryption_key=log_encryption_key,
        )
        secret.grant_rotate(self.function)
        self.function.add_to_role_policy(
            iam.PolicyStatement(
                actions=[
                    "cloudfront:GetDistribution",
                    "cloudfront:GetDistributionConfig",
                    "cloudfront:UpdateDistribution",
                ],
                resources=[distribution.distribution_arn],
            )
        )
        self.function.add_permission(
            "SecretsManager",
            principal=iam.ServicePrincipal("secretsmanager.amazonaws.com"),
            source_arn=secret.secret.secret_arn,
            source_account=Stack.of(self).account,
        )
        # Not the library's own: it also admits the function to `GetRandomPassword` on every resource.
        self.schedule = secretsmanager.CfnRotationSchedule(
            self,
            "Schedule",
            secret_id=secret.secret.secret_arn,
            rotation_lambda_arn=self.function.function_arn,
            rotation_rules=secretsmanager.CfnRotationSchedule.RotationRulesProperty(
                schedule_expression=f"rate({round((every or Duration.days(30)).to_days())} days)"
            ),
        )
        # It calls the function at once.
        self.schedule.node.add_dependency(self.function, distribution)
