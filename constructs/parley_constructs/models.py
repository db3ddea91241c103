"""Permissions to invoke Bedrock models, and the models that can no longer be invoked."""

from collections.abc import Sequence
from datetime import date

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

type _Conditions = dict[str, dict[str, str]]

_INVOKE = "bedrock:InvokeModel"
_STREAM = "bedrock:InvokeModelWithResponseStream"
# The operation's page asks for InvokeModel, Amazon's own samples for the action of the operation's name.
_CONVERSE_BY_VOICE = ["bedrock:InvokeModel", "bedrock:InvokeModelWithBidirectionalStream"]

# The regions that a geography's inference profiles route to, all models and all calling regions together: a region that
# one profile does not use costs nothing to grant, and one that is missing fails only when a request is sent there.
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html, and the lists in
# CrossRegionInferenceProfileRegion of @aws-cdk/aws-bedrock-alpha; November 2026.
_DESTINATIONS: dict[str, tuple[str, ...]] = {
    "us": ("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
    "us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "ca": ("ca-central-1", "ca-west-1"),
    "eu": (
        *("eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2"),
        *("eu-west-1", "eu-west-2", "eu-west-3"),
    ),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "apac": (
        *("ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2"),
        *("ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-7"),
        "me-central-1",
    ),
}


class BedrockModels:
    """Grants for the Bedrock models that functions of one stack invoke.

    Args:
        scope: anything in the stack whose region the models are called from.
    """

    def __init__(self, scope: Construct) -> None:
        self._stack = Stack.of(scope)

    def grant_invoke(
        self, grantee: iam.IGrantable, model_ids: Sequence[str], *, whole: bool = True, streamed: bool = True
    ) -> list[iam.Grant]:
        """Let `grantee` invoke the models: for whole answers (`Converse` needs the same), streamed ones, or both.

        A foundation model is granted by its exact ARN in the stack's region. An inference profile (an id with a
        geography or `global` before it) needs its own ARN and the foundation model's here and wherever it routes to;
        those are granted for calls through that profile only.
        """
        return self._grant_all(grantee, model_ids, [*([_INVOKE] if whole else []), *([_STREAM] if streamed else [])])

    def grant_converse_by_voice(self, grantee: iam.IGrantable, model_ids: Sequence[str]) -> list[iam.Grant]:
        """Let `grantee` open bidirectional streams to speech models (`InvokeModelWithBidirectionalStream`)."""
        return self._grant_all(grantee, model_ids, _CONVERSE_BY_VOICE)

    def _grant_all(self, grantee: iam.IGrantable, model_ids: Sequence[str], actions: Sequence[str]) -> list[iam.Grant]:
        return [grant for model_id in dict.fromkeys(model_ids) for grant in self._grant(grantee, model_id, actions)]

    def _grant(self, grantee: iam.IGrantable, model_id: str, actions: Sequence[str]) -> list[iam.Grant]:
        geography, foundation_model = _split(model_id)
        if geography is None:
            return [_allow(grantee, actions, [self._foundation_model_arn(model_id, self._stack.region)])]
        profile = self._stack.format_arn(
            service="bedrock",
            resource="inference-profile",
            resource_name=model_id,
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )
        # A global profile routes to any commercial region: the model's ARN has none in it then.
        destinations = ("",) if geography == "global" else _DESTINATIONS[geography]
        regions = dict.fromkeys((self._stack.region, *destinations))
        models = [self._foundation_model_arn(foundation_model, region) for region in regions]
        through_profile: _Conditions = {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
        return [_allow(grantee, actions, [profile]), _allow(grantee, actions, models, through_profile)]

    def _foundation_model_arn(self, model_id: str, region: str) -> str:
        return f"arn:{self._stack.partition}:bedrock:{region}::foundation-model/{model_id}"


def _allow(
    grantee: iam.IGrantable,
    actions: Sequence[str],
    resource_arns: list[str],
    conditions: _Conditions | None = None,
) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=list(actions), resource_arns=resource_arns, conditions=conditions
    )


def _split(model_id: str) -> tuple[str | None, str]:
    """An id's geography, if it is an inference profile's, and its foundation model."""
    prefix, _, rest = model_id.partition(".")
    return (prefix, rest) if prefix == "global" or prefix in _DESTINATIONS else (None, model_id)


# The day from which requests fail, by how a foundation model's id begins. For a family it is the day by which its last
# known member was gone. CDK's own list of model ids keeps those that are.
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html, November 2026.
_END_OF_LIFE: dict[str, date] = {
    "amazon.nova-canvas-v1:0": date(2026, 9, 30),
    "amazon.nova-premier-v1:0": date(2026, 9, 14),
    "amazon.nova-sonic-v1:0": date(2026, 9, 14),
    "anthropic.claude-3-": date(2026, 4, 30),
    "anthropic.claude-3-5-haiku-20241022-v1:0": date(2026, 6, 19),
    "anthropic.claude-3-7-sonnet-20250219-v1:0": date(2026, 4, 28),
    "anthropic.claude-instant-": date(2025, 7, 21),
    "anthropic.claude-opus-4-20250514-v1:0": date(2026, 5, 31),
    "anthropic.claude-v": date(2025, 7, 21),
}


def retired_on(model_id: str) -> date | None:
    """The day from which requests to a model (or to an inference profile of it) fail; None when none is known."""
    foundation_model = _split(model_id)[1]
    matching = [beginning for beginning in _END_OF_LIFE if foundation_model.startswith(beginning)]
    return _END_OF_LIFE[max(matching, key=len)] if matching else None
