"""A client of Parley's sessions: speak, listen, type, and read what the assistant knows.

`Session` is all of it; what comes back are the events of `parley_client.events`.
"""

from parley_client.errors import Over, ParleyError, Refused, Unreachable
from parley_client.events import (
    INPUT_RATE,
    OUTPUT_RATE,
    Answer,
    Audio,
    Citation,
    Delta,
    Ended,
    Event,
    Interrupted,
    Problem,
    Ready,
    Reconnecting,
    ToolNotice,
    Transcript,
    Usage,
)
from parley_client.session import Session
from parley_client.timing import Timing

__all__ = [
    "INPUT_RATE",
    "OUTPUT_RATE",
    "Answer",
    "Audio",
    "Citation",
    "Delta",
    "Ended",
    "Event",
    "Interrupted",
    "Over",
    "ParleyError",
    "Problem",
    "Ready",
    "Reconnecting",
    "Refused",
    "Session",
    "Timing",
    "ToolNotice",
    "Transcript",
    "Unreachable",
    "Usage",
]
