"""Small apps around single constructs, synthesized once with both rule packs on."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")

from aws_cdk import App, Validations
from aws_cdk import aws_lambda as lambda_
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

Template = dict[str, Any]
Resource = dict[str, Any]

IRELAND = {"account": "111111111111", "region": "eu-west-1"}
VIRGINIA = {"account": "111111111111", "region": "us-east-1"}


def code() -> lambda_.Code:
    """Something for a function to run."""
    return lambda_.Code.from_inline("def handler(event, context):\n    return None\n")


def synthesize(directory: Path, build: Callable[[App], None]) -> dict[str, Template]:
    """The templates of the app that `build` makes, by stack; a finding that nobody acknowledged raises."""
    app = App(outdir=str(directory))
    build(app)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    app.synth()
    return {path.name.split(".")[0]: json.loads(path.read_text()) for path in directory.glob("*.template.json")}


def of_type(template: Template, resource_type: str) -> dict[str, Resource]:
    """A template's resources of one type, by logical id."""
    return {name: each for name, each in template["Resources"].items() if each["Type"] == resource_type}


def only(template: Template, resource_type: str, having: str = "") -> Resource:
    """The one resource of a type (whose logical id has `having` in it); its properties."""
    [resource] = [each for name, each in of_type(template, resource_type).items() if having in name]
    properties: Resource = resource["Properties"]
    return properties


def statements(template: Template, policy: str) -> Iterator[dict[str, Any]]:
    """The statements of every policy whose logical id has `policy` in it."""
    for name, each in of_type(template, "AWS::IAM::Policy").items():
        if policy in name:
            yield from each["Properties"]["PolicyDocument"]["Statement"]


def actions(template: Template, policy: str) -> set[str]:
    """Every action that a function's policy allows."""
    found: set[str] = set()
    for statement in statements(template, policy):
        allowed = statement["Action"]
        found |= set(allowed) if isinstance(allowed, list) else {allowed}
    return found
