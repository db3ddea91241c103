"""How patient a session is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things may take, in seconds."""

    ready_within: float = 10.0
    """The server says within 5 s whether a worker took the session up."""
    ping_every: float = 5.0
    """The server notices by it that a session has lost its worker."""
    silent_after: float = 15.0
    """Without any message for so long, the connection counts as lost."""
    remind_after: float = 5.0
    """A frame that nobody acknowledges is sent again."""
    ask_again_after: float = 60.0
    """A text of whose answer nothing came for so long is sent again: a turn takes 50 s at most."""
    report_every: float = 2.0
    """How often the server is told what has been heard; it is told at an interruption, too."""
    hold: float = 120.0
    """How much audio is kept that the server has not acknowledged; `send_audio` waits when there is more."""
    first_pause: float = 0.5
    """Before the second attempt to connect; doubled, with jitter, before each further one."""
    longest_pause: float = 10.0
    give_up_after: float = 120.0
    """Without a connection for so long, the session raises Unreachable."""
    end_within: float = 10.0
    """How long `end` waits for the server to have everything, and then to end the session."""
