"""The guardrail that the configuration asks for."""

from aws_cdk import Stack
from parley_constructs.guardrail import Guardrail

from stacks.config import Configuration


def guardrail(stack: Stack, configuration: Configuration) -> Guardrail | None:
    """A guardrail of the stack's own (`"default"`), or an existing one; None where none is asked for."""
    match configuration.guardrail:
        case None:
            return None
        case {"id": guardrail_id, "version": version}:
            return Guardrail.from_id(stack, "Guardrail", guardrail_id=guardrail_id, version=version)
        case _:
            return Guardrail.create(stack, "Guardrail")
