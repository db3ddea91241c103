"""Voice: latency, calls at once, what they cost, what is shipped, and how well is heard."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Measurement

PARTS = ("latency", "calls", "cost", "sizes")
STEPS = (1, 5, 10, 20, 30, 40, 50, 60, 80)


def measure(
    *,
    parts: Sequence[str],
    steps: Sequence[int],
    seconds: float,
    recordings: Path | None,
    environment: str | None,
    language: str | None,
) -> dict[str, Measurement]:
    """Each part beside the limits it is to keep; with `recordings`, their word errors alone.

    `latency` and `calls` need the running sandbox, and hold each call for `seconds`.
    """
    if recordings is not None:
        from benchmarks import voice_recordings

        return dict(voice_recordings.measure(recordings, environment=environment, language=language))
    measured: dict[str, Measurement] = {}
    for part in parts:
        match part:
            case "latency":
                from benchmarks import voice_calls

                measured |= voice_calls.latency(seconds=seconds)
            case "calls":
                from benchmarks import voice_calls

                measured |= voice_calls.crowd(steps, seconds=seconds)
            case "cost":
                from benchmarks import voice_cost

                measured |= voice_cost.measure()
            case "sizes":
                from benchmarks import voice_sizes

                measured |= voice_sizes.measure()
    return measured
