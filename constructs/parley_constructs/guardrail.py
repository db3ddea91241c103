"""A guardrail of Amazon Bedrock: it judges what users ask a model and what the model answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aws_cdk import ArnFormat, Names, Stack
from aws_cdk import aws_bedrock as bedrock
from aws_cdk import aws_iam as iam
from constructs import Construct

CONTENT_FILTERS = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT")
"""Kinds of harm that questions and answers are judged for."""

MASKED = (
    "AWS_SECRET_KEY",
    "CREDIT_DEBIT_CARD_CVV",
    "CREDIT_DEBIT_CARD_NUMBER",
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER",
    "PASSWORD",
    "PIN",
    "US_BANK_ACCOUNT_NUMBER",
    "US_PASSPORT_NUMBER",
    "US_SOCIAL_SECURITY_NUMBER",
)
"""What is masked in answers. Names, addresses and telephone numbers are not: they are often what was asked for."""

REFUSED_QUESTION = "I cannot help with that."
REFUSED_ANSWER = "I cannot give you the answer that I have to that."


class Guardrail(Construct):
    """A guardrail in one version: `Guardrail.create` makes one, `Guardrail.from_id` takes one that exists.

    Attributes:
        guardrail_id, version: what a request names. arn: what a policy names.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.guardrail_id = ""
        self.version = ""
        self.arn = ""

    @classmethod
    def from_id(cls, scope: Construct, construct_id: str, *, guardrail_id: str, version: str) -> Guardrail:
        """A guardrail of this account and region."""
        guardrail = cls(scope, construct_id)
        guardrail.guardrail_id, guardrail.version = guardrail_id, version
        guardrail.arn = Stack.of(scope).format_arn(
            service="bedrock",
            resource="guardrail",
            resource_name=guardrail_id,
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )
        return guardrail

    @classmethod
    def create(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        strength: str = "MEDIUM",
        masked: Sequence[str] = MASKED,
        refused_question: str = REFUSED_QUESTION,
        refused_answer: str = REFUSED_ANSWER,
    ) -> Guardrail:
        """A new guardrail.

        It blocks harmful questions and answers (CONTENT_FILTERS, at `strength`: LOW, MEDIUM or HIGH) and questions that
        try to talk the model out of its instructions, and masks the `masked` kinds of personal data in answers.
        """
        guardrail = cls(scope, construct_id)
        content_filter = bedrock.CfnGuardrail.ContentFilterConfigProperty
        resource = bedrock.CfnGuardrail(
            guardrail,
            "Resource",
            # The service wants a name, and no other guardrail of the account may have it.
            name=Names.unique_resource_name(guardrail, max_length=50, separator="-"),
            description="Judges questions and answers of an assistant",
            blocked_input_messaging=refused_question,
            blocked_outputs_messaging=refused_answer,
            content_policy_config=bedrock.CfnGuardrail.ContentPolicyConfigProperty(
                filters_config=[
                    *(
                        content_filter(type=kind, input_strength=strength, output_strength=strength)
                        for kind in CONTENT_FILTERS
                    ),
                    # It judges questions alone.
                    content_filter(type="PROMPT_ATTACK", input_strength="HIGH", output_strength="NONE"),
                ]
            ),
            sensitive_information_policy_config=bedrock.CfnGuardrail.SensitiveInformationPolicyConfigProperty(
                pii_entities_config=[
                    bedrock.CfnGuardrail.PiiEntityConfigProperty(
                        type=kind, action="ANONYMIZE", input_enabled=False, output_enabled=True
                    )
                    for kind in masked
                ]
            )
            if masked
            else None,
        )
        # A version is what the guardrail was when it was made, for good: what is changed needs another one.
        content = repr((strength, tuple(masked), refused_question, refused_answer, CONTENT_FILTERS))
        version = bedrock.CfnGuardrailVersion(
            guardrail,
            f"Version{hashlib.sha256(content.encode()).hexdigest()[:8]}",
            guardrail_identifier=resource.attr_guardrail_id,
            description="The deployed version",
        )
        guardrail.guardrail_id, guardrail.version = resource.attr_guardrail_id, version.attr_version
        guardrail.arn = resource.attr_guardrail_arn
        return guardrail

    def grant_apply(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` call models through the guardrail."""
        return iam.Grant.add_to_principal(grantee=grantee, actions=["bedrock:ApplyGuardrail"], resource_arns=[self.arn])
