"""MiniStack, with credentials of its own for every function, and recorded when the environment asks for it."""

import os
import sys

from sandbox.calls import VARIABLE, access_key
from sandbox.calls.recorder import recorded
from sandbox.packages import ZIPFILE


def _credentials(configuration: dict[str, str]) -> dict[str, str]:
    """What a function of this account signs with: a session of its role, as on AWS.

    MiniStack checks the signatures of links, by the sessions that it knows; those of requests only when told to.
    """
    from ministack.services import sts

    name, role = configuration["FunctionName"], configuration["Role"].rpartition("/")[2]
    key, account = access_key(name), configuration["FunctionArn"].split(":")[4]
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
        "UserId": f"{role}:{name}",
        "SecretAccessKey": "sandbox",
        "SessionToken": "sandbox",
    }
    sts.register_session(key, session)
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def serve() -> None:
    """Serve until SIGINT or SIGTERM; MiniStack's own settings are in the environment."""
    from ministack import app
    from ministack.core import lambda_runtime

    app.app = recorded(app.app)
    # Functions are processes with this one's environment and folder. On AWS they know nothing of a recording, and they
    # must not find this project's own packages.
    os.environ.pop(VARIABLE, None)
    os.chdir(os.environ["TMPDIR"])
    # Its own gives every function of an account the same ones, unless it also checks all signatures and policies.
    lambda_runtime.execution_credentials = _credentials
    lambda_runtime.zipfile = ZIPFILE
    sys.argv = ["ministack"]
    app.main()
