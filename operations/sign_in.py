"""Who an operator's tool speaks for: the holder of a token or of an API key, or a user with a password."""

import argparse
import asyncio
import getpass
import os
import sys
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

from operations.environment import Environment, OperationError


class SignIn(Protocol):
    """Gives bearer tokens."""

    async def token(self, refused: str | None = None) -> str:
        """A token, and not the one that the API has just `refused`. Raises OperationError when there is no other."""


class Given:
    """A token or an API key that somebody else obtained."""

    def __init__(self, token: str, what: str) -> None:
        self._token = token
        self._what = what

    async def token(self, refused: str | None = None) -> str:
        """See SignIn."""
        if refused is not None:
            raise OperationError(f"The {self._what} is not valid (any more): give a new one.")
        return self._token


class Password:
    """A user of the environment's Cognito pool: signs in by SRP, which sends no password, and again as tokens end."""

    def __init__(self, environment: Environment, username: str, password: str) -> None:
        self._environment = environment
        self._username = username
        self._password = password
        self._token: str | None = None
        self._signing_in = asyncio.Lock()

    async def token(self, refused: str | None = None) -> str:
        """See SignIn."""
        async with self._signing_in:
            if self._token is None or self._token == refused:
                self._token = await asyncio.to_thread(self._sign_in)
            return self._token

    def _sign_in(self) -> str:
        # Imported here: it costs more than the rest of the tool, and a token needs none of it.
        from pycognito.aws_srp import AWSSRP
        from pycognito.exceptions import WarrantException

        environment = self._environment
        handshake = AWSSRP(
            username=self._username,
            password=self._password,
            pool_id=environment.user_pool_id,
            client_id=environment.user_pool_client_id,
            client=environment.client("cognito-idp"),
        )
        try:
            token: str = handshake.authenticate_user()["AuthenticationResult"]["IdToken"]
        except ClientError as error:
            raise OperationError(f"{self._username} was not signed in: {error.response['Error']['Message']}") from error
        except BotoCoreError as error:
            raise OperationError(f"{self._username} was not signed in: {error}") from error
        # NotImplementedError is how pycognito meets a challenge that it does not know.
        except (WarrantException, NotImplementedError) as error:
            raise OperationError(
                f"{self._username} needs more than a password to sign in: use the page, and give the token here."
            ) from error
        return token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a command that say who it speaks for."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--token", help="a bearer token (better in PARLEY_TOKEN; an API key in PARLEY_API_KEY)")
    who.add_argument("--user", help="a user name (PARLEY_USER); the password is PARLEY_PASSWORD, or asked for")


def sign_in(options: argparse.Namespace, environment: Environment | None) -> SignIn:
    """Who the options and the environment variables name; in the sandbox the demo user, when they name nobody.

    `environment` is None where only the API's address is known. Raises OperationError.
    """
    if options.token:
        return Given(options.token, "token")
    if not options.user:
        for variable, what in (("PARLEY_TOKEN", "token in PARLEY_TOKEN"), ("PARLEY_API_KEY", "key in PARLEY_API_KEY")):
            if value := os.environ.get(variable):
                return Given(value, what)
    username = options.user or os.environ.get("PARLEY_USER")
    if username:
        if environment is None or environment.user_pool_id is None:
            raise OperationError("There is no user pool to sign in to here: give --token, or set PARLEY_API_KEY.")
        return Password(environment, username, _password(username))
    if environment is not None and environment.demo is not None:
        return as_demo_user(environment)
    raise OperationError("Say who you are: --user NAME, or a token in PARLEY_TOKEN, or an API key in PARLEY_API_KEY.")


def as_demo_user(environment: Environment) -> SignIn:
    """The sandbox's demo user. Raises OperationError on AWS, where there is none."""
    if environment.demo is None:
        raise OperationError(f"The environment {environment.name} has no demo user.")
    return Password(environment, environment.demo.username, environment.demo.password)


def _password(username: str) -> str:
    if password := os.environ.get("PARLEY_PASSWORD"):
        return password
    if not sys.stdin.isatty():
        raise OperationError("There is no password, and nobody to ask for it: set PARLEY_PASSWORD.")
    return getpass.getpass(f"Password of {username}: ")
