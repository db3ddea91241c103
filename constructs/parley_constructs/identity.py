"""Who may call the API: a Cognito user pool, or hashed API keys checked by a function."""

from collections.abc import Sequence
from typing import Protocol

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigwv2
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from parley_constructs.findings import acknowledge


class Identity(Protocol):
    """What a VoiceApi needs from an identity: an authorizer for its HTTP routes."""

    def http_authorizer(self) -> apigwv2.IHttpRouteAuthorizer:
        """The authorizer of every HTTP route that is not public."""


class CognitoIdentity(Construct):
    """A user pool, one public client for browsers, and a group whose members may write shared documents.

    Sign-in is SRP only, so a password never leaves the browser. Tokens carry the group in `cognito:groups`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        allow_password_auth: bool = False,
        curators_group: str = "curators",
        self_sign_up: bool = False,
        threat_protection: bool = False,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        """Create the pool.

        allow_password_auth: also accept the plain-password flow; for laptops only, never for a real environment.
        curators_group: name of the group of curators.
        self_sign_up: anybody may create an account; off, an administrator creates users.
        threat_protection: risk-based checks of every sign-in. They need Cognito's Plus plan, billed per active user
            from the first one (aws.amazon.com/cognito/pricing), so they are never switched on unasked.
        removal_policy: RETAIN also protects the pool from deletion through the API.
        """
        super().__init__(scope, construct_id)
        self.user_pool = cognito.UserPool(
            self,
            "UserPool",
            sign_in_aliases=cognito.SignInAliases(email=True),
            sign_in_case_sensitive=False,
            self_sign_up_enabled=self_sign_up,
            auto_verify=cognito.AutoVerifiedAttrs(email=True),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            password_policy=cognito.PasswordPolicy(
                min_length=12,
                require_digits=True,
                require_lowercase=True,
                require_uppercase=True,
                require_symbols=True,
                temp_password_validity=Duration.days(3),
            ),
            mfa=cognito.Mfa.OPTIONAL,
            mfa_second_factor=cognito.MfaSecondFactor(otp=True, sms=False),
            feature_plan=cognito.FeaturePlan.PLUS if threat_protection else cognito.FeaturePlan.ESSENTIALS,
            standard_threat_protection_mode=(
                cognito.StandardThreatProtectionMode.FULL_FUNCTION if threat_protection else None
            ),
            deletion_protection=removal_policy == RemovalPolicy.RETAIN,
            removal_policy=removal_policy,
        )
        self.client = self.user_pool.add_client(
            "Client",
            # A browser cannot keep a secret.
            generate_secret=False,
            auth_flows=cognito.AuthFlow(user_srp=True, user_password=allow_password_auth),
            disable_o_auth=True,
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            access_token_validity=Duration.hours(1),
            id_token_validity=Duration.hours(1),
            refresh_token_validity=Duration.days(7),
        )
        self.curators = cognito.CfnUserPoolGroup(
            self,
            "Curators",
            user_pool_id=self.user_pool.user_pool_id,
            group_name=curators_group,
            description="May write documents that everyone reads",
        )
        self._acknowledge_findings(threat_protection=threat_protection)

    def http_authorizer(self) -> apigwv2.IHttpRouteAuthorizer:
        """An authorizer that admits tokens of this pool issued to this client."""
        return authorizers.HttpUserPoolAuthorizer("Tokens", self.user_pool, user_pool_clients=[self.client])

    def _acknowledge_findings(self, *, threat_protection: bool) -> None:
        acknowledge(
            self.user_pool,
            {
                "AwsSolutions-COG2": "A second factor (TOTP) is offered and left to each user: an organisation that "
                "wants one for everybody federates its own identity provider.",
            },
        )
        if not threat_protection:
            reason = (
                "Threat protection needs the Plus plan, billed per active user; `threat_protection=True` turns it on. "
                "Sign-in is SRP only, and Cognito itself locks out repeated failures."
            )
            acknowledge(self.user_pool, {"AwsSolutions-COG3": reason, "AwsSolutions-COG8": reason})


class ApiKeyIdentity(Construct):
    """API keys checked by a function of yours, which answers in the simple format {isAuthorized, context}."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        authorizer_function: lambda_.IFunction,
        identity_source: Sequence[str] = ("$request.header.Authorization",),
        cache_for: Duration | None = None,
    ) -> None:
        """Wrap `authorizer_function`.

        identity_source: a request without it is refused with 401 before the function is asked.
        cache_for: how long API Gateway keeps a verdict, and so how long a revoked key still works; none by default.
        """
        super().__init__(scope, construct_id)
        self.authorizer_function = authorizer_function
        self._identity_source = list(identity_source)
        self._cache_for = cache_for or Duration.seconds(0)

    def http_authorizer(self) -> apigwv2.IHttpRouteAuthorizer:
        """An authorizer that asks the function about every request."""
        return authorizers.HttpLambdaAuthorizer(
            "ApiKeys",
            self.authorizer_function,
            identity_source=self._identity_source,
            response_types=[authorizers.HttpLambdaResponseType.SIMPLE],
            results_cache_ttl=self._cache_for,
        )
