"""Users of the sandbox's assistant, as clients see them: HTTP with a bearer token, a WebSocket with a ticket.

What tests and attacks share.
"""

import base64
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import psutil
from websockets.sync.client import ClientConnection, connect

from sandbox.demo_user import ensure_user, new_password, session, sign_in

ANSWER_SECONDS = 60


class Connected:
    """One end of a WebSocket connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, action: str, **fields: Any) -> None:
        """Send a message of the WebSocket API."""
        self.socket.send(json.dumps({"action": action, **fields}))

    def receive(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types, or an error message; others are passed over."""
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=ANSWER_SECONDS))
            if message.get("type") in {*types, "error"}:
                return message

    def ask(self, message: str, **fields: Any) -> dict[str, Any]:
        """The finished answer to one message."""
        self.send("text", message=message, **fields)
        return self.receive("message.done")


@dataclass(frozen=True)
class Person:
    """A signed-in user."""

    http: httpx.Client
    websocket_url: str

    @property
    def subject(self) -> str:
        """The user that the token stands for."""
        claims = self.http.headers["Authorization"].split(".")[1]
        subject: str = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
        return subject

    def ticket(self, **body: Any) -> dict[str, Any]:
        """A new ticket, with the session that it is bound to."""
        ticket: dict[str, Any] = self.http.post("/tickets", json=body).raise_for_status().json()
        return ticket

    @contextmanager
    def connected(self, ticket: str | None = None) -> Iterator[Connected]:
        """A connection opened with `ticket`, or with a new one."""
        ticket = ticket or self.ticket()["ticket"]
        with connect(f"{self.websocket_url}?ticket={ticket}", open_timeout=ANSWER_SECONDS) as socket:
            yield Connected(socket)

    def chat(self, message: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """The response to `POST /chat`."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.http.post("/chat", json={"message": message, **body}, headers=headers)

    def conversations(self) -> list[dict[str, Any]]:
        """What `GET /conversations` lists."""
        listed: list[dict[str, Any]] = self.http.get("/conversations").raise_for_status().json()["conversations"]
        return listed


class Sandbox:
    """The running sandbox that the tests share."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self.outputs = outputs
        self._clients: list[httpx.Client] = []

    def aws(self, service: Any) -> Any:
        """A boto3 client of the sandbox's account."""
        return boto3.client(service, **session(self.outputs["aws_endpoint"], self.outputs["region"]))

    def new_user(self, *, groups: Sequence[str] = ()) -> Person:
        """A user nobody has used before."""
        name, password = f"person-{uuid.uuid4().hex[:12]}@example.com", new_password()
        ensure_user(
            self.aws("cognito-idp"), self.outputs["user_pool_id"], username=name, password=password, groups=groups
        )
        return self.person(sign_in(self.outputs, name, password))

    def person(self, token: str | None) -> Person:
        """The holder of a bearer token; None is somebody who did not sign in."""
        http = httpx.Client(
            base_url=self.outputs["http_url"],
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )
        self._clients.append(http)
        return Person(http, self.outputs["websocket_url"])

    def fault(self, *, containing: str, **fault: Any) -> None:
        """Let model calls whose request contains a text fail."""
        faults = httpx.post(f"{self.outputs['models_url']}/_faults", json=[{"containing": containing, **fault}])
        faults.raise_for_status()

    def outputs_of(self, part: str) -> dict[str, str]:
        """The CloudFormation outputs of one of the environment's stacks."""
        stacks = self.aws("cloudformation").describe_stacks(StackName=f"Parley-local-{part}")["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

    def function(self, module: str) -> dict[str, Any]:
        """The configuration of the function that runs a module of `parley.functions`."""
        handler = f"parley.functions.{module}.handler"
        pages = self.aws("lambda").get_paginator("list_functions").paginate()
        [function] = [found for page in pages for found in page["Functions"] if found.get("Handler") == handler]
        return dict(function)

    def running(self, module: str) -> set[psutil.Process]:
        """The processes that run a function now."""
        name = self.function(module)["FunctionName"]
        return {process for process, function in self.all_running().items() if function == name}

    def all_running(self) -> dict[psutil.Process, str]:
        """The processes that run any function now, with the functions' names."""
        found: dict[psutil.Process, str] = {}
        for child in psutil.Process(self.outputs["pids"]["ministack"]).children(recursive=True):
            # One may end while it is looked at.
            with suppress(psutil.Error):
                if name := child.environ().get("AWS_LAMBDA_FUNCTION_NAME"):
                    found[child] = name
        return found

    def limit(self, person: Person, **limits: int) -> None:
        """Give a user daily limits, as an operator does: `limit(user, documents_per_day=1)`; 0 is none."""
        item: dict[str, Any] = {"pk": {"S": f"{person.subject}#limits"}, "sk": {"S": "own"}}
        item |= {name: {"N": str(value)} for name, value in limits.items()}
        self.aws("dynamodb").put_item(TableName=self.outputs_of("Data")["UsageTableName"], Item=item)

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()
