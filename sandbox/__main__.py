"""`python -m sandbox <command>`: the commands behind the scripts of the same names."""

import argparse
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from sandbox.state import SandboxError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a failure is one sentence on standard error and the exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"The sandbox's AWS services did not do as asked: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Parley's cloud on a laptop.")
    commands = parser.add_subparsers(required=True, metavar="command")

    up = commands.add_parser("up", help="start the sandbox, or update the running one")
    up.add_argument("--detach", action="store_true", help="return when it is up, instead of streaming logs")
    for flag, variable, default, what in (
        ("--port", "PARLEY_PORT", 8080, "the gateway"),
        ("--aws-port", "PARLEY_AWS_PORT", 4566, "MiniStack"),
        ("--models-port", "PARLEY_MODELS_PORT", 4567, "the AI endpoints"),
    ):
        text = f"port of {what} ({variable}; {default}; 0 takes a free one)"
        up.add_argument(flag, type=_port, default=os.environ.get(variable) or str(default), help=text)
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop the sandbox and remove its state")
    down.set_defaults(run=_down)

    ask = commands.add_parser("ask", help="ask the assistant; prints the answer and its citations")
    ask.add_argument("question")
    ask.add_argument("--conversation", help="id of a conversation to go on with")
    ask.set_defaults(run=_ask)

    token = commands.add_parser("token", help="print a bearer token of the demo user")
    token.set_defaults(run=_token)

    api_key = commands.add_parser("api-key", help="issue, list and revoke API keys (environments with auth=api-key)")
    api_key.add_argument("--env", default="local", help="the environment (default local: the sandbox)")
    actions = api_key.add_subparsers(required=True, metavar="action")
    issue = actions.add_parser("issue", help="print a new key; its secret is shown this once")
    issue.add_argument("--owner", required=True, help="the subject whose conversations and documents it opens")
    issue.add_argument("--label", default="", help="what it is for")
    issue.add_argument("--group", action="append", default=[], help="a group of the owner, for example curators")
    issue.set_defaults(run=_issue_key)
    listing = actions.add_parser("list", help="show every key, without its secret")
    listing.set_defaults(run=_list_keys)
    revoke = actions.add_parser("revoke", help="end a key's validity")
    revoke.add_argument("key_id")
    revoke.set_defaults(run=_revoke_key)

    gateway = commands.add_parser("serve-gateway", help="run the gateway alone")
    gateway.add_argument("--port", type=_port, required=True)
    gateway.add_argument("--aws", required=True, help="MiniStack's address")
    gateway.add_argument("--models", required=True, help="the AI endpoints' address")
    gateway.add_argument("--page", type=Path, required=True, help="the built web client")
    gateway.add_argument("--outputs", type=Path, required=True, help="outputs.json")
    gateway.set_defaults(run=_serve_gateway)
    account = commands.add_parser("serve-account", help="run MiniStack alone, with its own settings in the environment")
    account.set_defaults(run=_serve_account)
    models = commands.add_parser("serve-models", help="run the AI endpoints alone")
    models.add_argument("--port", type=_port, required=True)
    models.add_argument("--tls-port", type=_port, required=True, help="for the operations that stream both ways")
    models.add_argument("--certificates", type=Path, required=True, help="the folder of the TLS certificate")
    models.add_argument("--aws", required=True, help="MiniStack's address, where transcription jobs read recordings")
    models.set_defaults(run=_serve_models)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text!r}")
    return int(text)


# Each command imports what it needs when it runs: `ask` must not wait for what only `up` uses.


def _up(options: argparse.Namespace) -> None:
    from sandbox.up import Ports, up

    up(Ports(gateway=options.port, aws=options.aws_port, models=options.models_port), detach=options.detach)


def _down(options: argparse.Namespace) -> None:
    from sandbox.up import down

    print("The sandbox is down." if down() else "No sandbox was up.")


def _ask(options: argparse.Namespace) -> None:
    from sandbox.client import Client
    from sandbox.state import State

    answer = Client(State.locate().outputs()).ask(options.question, options.conversation)
    print(answer["message"])
    if answer.get("citations"):
        print()
    for citation in answer.get("citations", []):
        place = " > ".join(part for part in (citation["document"], citation.get("heading")) if part)
        print(f"  [{citation['id']}] {place}")
    print(f"\n  {answer.get('model', '')}, conversation {answer['conversation_id']}", file=sys.stderr)


def _token(options: argparse.Namespace) -> None:
    from sandbox.demo_user import sign_in
    from sandbox.state import State

    outputs = State.locate().outputs()
    print(sign_in(outputs, outputs["username"], outputs["password"]))


def _issue_key(options: argparse.Namespace) -> None:
    from sandbox.api_keys import credentials_table, issue

    print(issue(credentials_table(options.env), owner=options.owner, label=options.label, groups=options.group))


def _list_keys(options: argparse.Namespace) -> None:
    from sandbox.api_keys import credentials_table, keys

    for key in keys(credentials_table(options.env)):
        state = f"revoked {key['revoked_at']}" if key["revoked_at"] else "valid"
        print(
            "  ".join(
                (key["key_id"], key["owner"], key["label"] or "-", key["groups"] or "-", key["created_at"], state)
            )
        )


def _revoke_key(options: argparse.Namespace) -> None:
    from sandbox.api_keys import credentials_table, revoke

    revoke(credentials_table(options.env), options.key_id)
    print(f"{options.key_id} is revoked.")


def _serve_gateway(options: argparse.Namespace) -> None:
    from sandbox.calls.recorder import recorded
    from sandbox.gateway.app import GatewaySettings, create_gateway
    from sandbox.server import bind, serve

    settings = GatewaySettings(
        aws_endpoint=options.aws, models_url=options.models, page=options.page, outputs=options.outputs
    )
    serve(recorded(create_gateway(settings)), bind(options.port))


def _serve_account(options: argparse.Namespace) -> None:
    from sandbox.calls.account import serve

    serve()


def _serve_models(options: argparse.Namespace) -> None:
    import boto3

    from sandbox.calls.recorder import recorded
    from sandbox.certificates import certificate
    from sandbox.demo_user import session
    from sandbox.models.app import create_models
    from sandbox.models.sentence import ModelUnusable
    from sandbox.server import bind, serve_twice

    try:
        models = recorded(create_models(buckets=boto3.client("s3", **session(options.aws))))
    except ModelUnusable as error:
        raise SystemExit(f"PARLEY_EMBEDDING_MODEL: {error}") from error
    serve_twice(models, bind(options.port), bind(options.tls_port), certificate(options.certificates))


if __name__ == "__main__":
    sys.exit(main())
