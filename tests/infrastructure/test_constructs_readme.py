import re
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template

README = (Path(__file__).parents[2] / "constructs" / "README.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("construct", SECTIONS)
def test_the_example_of_every_construct_works(construct: str) -> None:
    [example] = re.findall(r"```python\n(.*?)```", SECTIONS[construct], re.DOTALL)
    stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack")

    exec(compile(example, f"constructs/README.md#{construct}", "exec"), {"stack": stack})

    assert Template.from_stack(stack).to_json()["Resources"]


def test_every_part_has_its_section() -> None:
    parts = {"PythonFunction", "BedrockModels", "Network", "Storage", "Monitoring", "ApiGatewayLogging"}

    assert parts <= set(SECTIONS)
