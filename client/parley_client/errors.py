"""What ends a session on the client's side."""


class ParleyError(Exception):
    """Base of them: `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Refused(ParleyError):
    """The server will not have it, now or later: no valid token, no such session, a language that is not spoken."""


class Over(ParleyError):
    """The session has ended: nothing more can be said in it."""

    def __init__(self) -> None:
        super().__init__("ended", "The session is over.")


class Unreachable(ParleyError):
    """No session came about, or the connection did not come back, within the time that was given for it."""
