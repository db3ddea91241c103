"""An AWS account in this process: boto3's own clients, which check what they are asked and ask nobody."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from operations import environment
from operations.environment import Place

Answer = Mapping[str, Any] | Callable[..., Any] | Exception | str
"""A string is the code of an error."""

_MAKE = environment._client
_CLIENTS: dict[tuple[str, str], Any] = {}


class Account:
    """Answers by operation: a response, an exception to raise, or a function of the request that gives either."""

    def __init__(self, answers: Mapping[str, Answer] | None = None, *, passes_on: bool = False) -> None:
        self.answers: dict[str, Answer] = dict(answers or {})
        self._passes_on = passes_on
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """(operation, parameters) of every request, in order."""

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of every request for one operation."""
        return [parameters for name, parameters in self.asked if name == operation]

    def client(self, service: str, options: Mapping[str, Any]) -> Any:
        """A boto3 client whose requests come here."""
        key = (service, options["region_name"])
        # Making one costs more than a whole test does with it.
        if key not in _CLIENTS:
            _CLIENTS[key] = _MAKE(service, options)
        real = _CLIENTS[key]
        pass_on = type(real)._make_api_call

        def call(operation: str, parameters: dict[str, Any]) -> Any:
            shape = real.meta.service_model.operation_model(operation).input_shape
            if shape is not None and (errors := ParamValidator().validate(parameters, shape)).has_errors():
                raise AssertionError(f"{operation}: {errors.generate_report()}")
            self.asked.append((operation, parameters))
            answer = self.answers.get(operation)
            if answer is None and self._passes_on:
                return pass_on(real, operation, parameters)
            if callable(answer) and not isinstance(answer, Exception):
                answer = answer(**parameters)
            if isinstance(answer, str):
                raise refusal(answer, operation)
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                raise AssertionError(f"nobody expected {operation}({parameters})")
            return answer

        real._make_api_call = call
        return real


def refusal(code: str, operation: str = "Anything", message: str = "no") -> ClientError:
    """An error as AWS answers it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@contextmanager
def account(
    monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Answer], *, passes_on: bool = False
) -> Iterator[Account]:
    """Every client that the operators' tools make speaks to this account; what it has no answer to, perhaps to moto."""
    double = Account(answers, passes_on=passes_on)
    monkeypatch.setattr(environment, "_client", double.client)
    yield double


def place(name: str = "dev", region: str = "eu-central-1") -> Place:
    """Where an environment is, with credentials that open nothing."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return Place(name, region, {"region_name": region, **keys})
