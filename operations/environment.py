"""What an operator's tool needs to know of a deployed environment: its addresses, names and AWS clients.

`resolve` reads them from the outputs of the environment's stacks. `local` is the running sandbox, whose AWS is
MiniStack.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from sandbox.demo_user import session
from sandbox.state import PROJECT, SandboxError, State

LOCAL = "local"

_PARTS = ("Data", "Knowledge", "Assistant", "Web")
_TABLE, _FUNCTION = "TableName", "FunctionName"
_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"})


class OperationError(Exception):
    """Ends a command with one plain sentence."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The sandbox's demo user."""

    username: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A deployed environment."""

    name: str
    region: str
    api_url: str
    """The HTTP API as users reach it, without a slash at the end."""
    documents_bucket: str
    tables: Mapping[str, str]
    """Table names by what they hold: `Knowledge`, `Credentials`, ..."""
    functions: Mapping[str, str]
    """Function names by what they do: `Ingestion`, `Retrieval`; empty without `enableRag`."""
    user_pool_id: str | None
    """None with `auth=api-key`, like the next one."""
    user_pool_client_id: str | None
    outputs: Mapping[str, str]
    """Every output of its stacks, for what has no field here."""
    folder: Path
    """Where tools keep on this machine what they remember of it. The sandbox's goes with the sandbox."""
    demo: Demo | None
    """The sandbox's; None on AWS."""
    client_options: Mapping[str, Any]
    """What leads a boto3 client there."""
    websocket_url: str | None = None
    """Where sessions connect, when it is not where their tickets say: behind CloudFront, and in the sandbox."""

    def client(self, service: str) -> Any:
        """A new boto3 client of a service, with timeouts and bounded retries."""
        return _client(service, self.client_options)

    def function_settings(self, function: str) -> dict[str, str]:
        """The environment variables of one of `functions`: its settings as they are deployed.

        Raises OperationError when there is no such function, or it cannot be read.
        """
        if function not in self.functions:
            raise OperationError(
                f"The environment {self.name} has no knowledge base: it is deployed without enableRag."
            )
        try:
            described = self.client("lambda").get_function_configuration(FunctionName=self.functions[function])
        except (BotoCoreError, ClientError) as error:
            raise OperationError(aws_trouble(self.name, error)) from error
        return dict(described.get("Environment", {}).get("Variables", {}))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options `--env` and `--region` of a command."""
    parser.add_argument("--env", default=LOCAL, metavar="NAME", help="the environment (default local: the sandbox)")
    parser.add_argument("--region", help="its AWS region (default: that of cdk.json, your shell or your AWS profile)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an environment is, or will be: all that is known of it before it is deployed."""

    name: str
    region: str
    client_options: Mapping[str, Any]
    """What leads a boto3 client there."""

    @property
    def is_sandbox(self) -> bool:
        """Whether its AWS is the sandbox's."""
        return self.name == LOCAL

    def client(self, service: str, region: str | None = None) -> Any:
        """A new boto3 client of a service, with timeouts and bounded retries; in another region if told."""
        return _client(service, {**self.client_options, "region_name": region or self.region})

    def account(self) -> str:
        """The number of the account that the credentials open."""
        return str(self.client("sts").get_caller_identity()["Account"])


def locate(name: str, region: str | None = None) -> Place:
    """Where the environment of this name is. It need not be deployed; the sandbox must be up for `local`.

    The region is the one given, or else cdk.json's for the environment, the shell's, or the AWS profile's. Raises
    OperationError in one sentence when the place is not known.
    """
    try:
        if name == LOCAL:
            up = State.locate().outputs()
            return Place(LOCAL, up["region"], session(up["aws_endpoint"], up["region"]))
        found = _region(name, region)
        return Place(name, found, {"region_name": found})
    except SandboxError as error:
        raise OperationError(str(error)) from error
    except BotoCoreError as error:
        raise OperationError(aws_trouble(name, error)) from error


def environments() -> dict[str, dict[str, Any]]:
    """The flags of every environment in cdk.json, by its name."""
    context = json.loads((PROJECT / "cdk.json").read_text())["context"]
    return dict(context["environments"])


def resolve(name: str, region: str | None = None) -> Environment:
    """The deployed environment of this name. Raises OperationError in one sentence when it cannot be found."""
    try:
        if name == LOCAL:
            return _sandbox()
        return _deployed(name, region)
    except SandboxError as error:
        raise OperationError(str(error)) from error
    except (BotoCoreError, ClientError) as error:
        raise OperationError(aws_trouble(name, error)) from error


def data_folder(api_url: str) -> Path:
    """Where tools keep on this machine what they remember of the API at this address (`XDG_DATA_HOME`)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "parley" / hashlib.sha256(api_url.encode()).hexdigest()[:16]


def _sandbox() -> Environment:
    state = State.locate()
    up = state.outputs()
    options = session(up["aws_endpoint"], up["region"])
    return _environment(
        LOCAL,
        _outputs(LOCAL, options),
        options,
        region=up["region"],
        # The address of the gateway, which plays API Gateway: MiniStack's own has other limits.
        api_url=up["http_url"],
        folder=state.folder,
        demo=Demo(up["username"], up["password"]),
        websocket_url=up.get("websocket_url"),
    )


def _deployed(name: str, region: str | None) -> Environment:
    region = _region(name, region)
    options = {"region_name": region}
    outputs = _outputs(name, options)
    api_url, websocket_url = outputs.get("HttpApiUrl", "").rstrip("/"), None
    folder = data_folder(api_url)
    if page := outputs.get("WebUrl", "").rstrip("/"):
        # The address that users have. With a web ACL in front, the APIs refuse whoever goes round it.
        api_url, websocket_url = f"{page}/api", f"{page.replace('https://', 'wss://', 1)}/ws"
    return _environment(
        name,
        outputs,
        options,
        region=region,
        api_url=api_url,
        folder=folder,
        demo=None,
        websocket_url=websocket_url,
    )


def _region(name: str, region: str | None) -> str:
    # boto3 knows only AWS_DEFAULT_REGION; the CDK and every other SDK read AWS_REGION.
    of_environment = environments().get(name, {}).get("region")
    found = region or of_environment or os.environ.get("AWS_REGION") or boto3.Session().region_name
    if not isinstance(found, str):
        raise NoRegionError
    return found


def _environment(
    name: str,
    outputs: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    region: str,
    api_url: str,
    folder: Path,
    demo: Demo | None,
    websocket_url: str | None = None,
) -> Environment:
    if not outputs:
        raise OperationError(f"No environment {name} is deployed in {region}: check --env, --region and AWS_PROFILE.")
    if missing := [output for output in ("HttpApiUrl", "DocumentsBucketName") if output not in outputs]:
        raise OperationError(f"The environment {name} is not wholly deployed (no {missing[0]}): deploy it again.")
    return Environment(
        name=name,
        region=region,
        api_url=api_url,
        documents_bucket=outputs["DocumentsBucketName"],
        tables=_named(outputs, _TABLE),
        functions=_named(outputs, _FUNCTION),
        user_pool_id=outputs.get("UserPoolId"),
        user_pool_client_id=outputs.get("UserPoolClientId"),
        outputs=outputs,
        folder=folder,
        demo=demo,
        client_options=options,
        websocket_url=websocket_url,
    )


def _outputs(name: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of the stacks that tools use. Each is asked for by name, as a narrow AWS permission may require."""
    cloudformation = _client("cloudformation", options)
    outputs: dict[str, str] = {}
    for part in _PARTS:
        try:
            stacks = cloudformation.describe_stacks(StackName=f"Parley-{name}-{part}")["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                continue
            raise
        for stack in stacks:
            outputs |= {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
    return outputs


def _named(outputs: Mapping[str, str], ending: str) -> dict[str, str]:
    return {key.removesuffix(ending): value for key, value in outputs.items() if key.endswith(ending)}


def _client(service: str, options: Mapping[str, Any]) -> Any:
    make: Any = boto3.client
    return make(service, config=_CONFIG, **options)


def aws_trouble(name: str, error: BotoCoreError | ClientError) -> str:
    """What went wrong on the way to AWS, and what helps, in one sentence."""
    match error:
        case EndpointConnectionError() if name == LOCAL:
            return "The sandbox is not running: run ./scripts/up."
        case NoCredentialsError() | PartialCredentialsError():
            return f"There are no AWS credentials for {name}: sign in, or set AWS_PROFILE."
        case NoRegionError():
            return f"The AWS region of {name} is not known: give --region, or set AWS_REGION."
        case ProfileNotFound():
            return f"{error}: check AWS_PROFILE."
        case ClientError() if error.response["Error"]["Code"] in _EXPIRED:
            return f"The AWS credentials for {name} are not valid or have expired: sign in again."
    return f"The environment {name} could not be read: {error}"
