"""`scripts/capacity`: which limit is reached first as sessions grow, and what to raise or shard there.

What a session uses comes from where it is derived already: a written turn from `operations.cost.usage`, a minute of a
call from `benchmarks.voice_cost`, sizes from cdk.json, quotas from `operations.quotas`. Nothing is deployed or asked.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parley.functions.messages import DELTA_SECONDS
from parley_client.timing import Timing

from benchmarks import voice_cost
from operations import quotas
from operations.assembly import ROOT
from operations.command import DONE, add_flags, parser, print_json, print_table, run
from operations.cost import profiles, usage
from operations.environment import OperationError
from operations.quotas import Quota
from stacks.sizes import FRAMES_PER_CALL, MESSAGES_PER_REQUEST

if TYPE_CHECKING:
    from stacks.config import Configuration

TURNS_A_MINUTE = 2.0
"""Of a person who reads what is answered before asking again."""

TEXT_SESSION_MINUTES, CALL_MINUTES = 15.0, 10.0
"""How long sessions last: each begins with a connection."""

TOKEN_MINUTES = 60.0
"""How long a sign-in lasts: then it is renewed."""

_TURN_MESSAGES = 3
"""Beside the pieces of an answer: the question, the whole answer, its usage."""
_TURN_FUNCTIONS_SECONDS = usage.TURN_SECONDS + usage.RETRIEVAL_SECONDS

_EXAMPLES = """\
  scripts/capacity                                dev's limits, by the sessions at which they are reached
  scripts/capacity --env prod --sessions 500      how much of each 500 sessions use
  scripts/capacity --env prod -c voiceEngine=cascade"""


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota, and how much of it one session uses."""

    medium: str
    """`text` or `voice`."""
    quota: Quota
    used: float
    """In the quota's own unit."""

    @property
    def sessions(self) -> float:
        """How many sessions at once reach it."""
        return self.quota.value / self.used

    def share(self, sessions: float) -> float:
        """How much of it so many sessions use: 1 is all."""
        return sessions / self.sessions

    def document(self, sessions: float | None) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {
            "medium": self.medium,
            "service": self.quota.service,
            "what": self.quota.what,
            "quota": self.quota.value,
            "used_by_a_session": self.used,
            "sessions": math.floor(self.sessions),
            "remedy": self.quota.remedy,
            "source": self.quota.source,
            "second_hand": self.quota.second_hand,
        }
        return found if sessions is None else found | {"share": round(self.share(sessions), 4)}


def limits(configuration: "Configuration") -> list[Limit]:
    """Every limit of an environment's sessions, the one that is reached first at the head."""
    found = [*_text(configuration), *(_voice(configuration) if configuration.enable_voice else ())]
    return sorted(found, key=lambda limit: limit.sessions)


def _text(configuration: "Configuration") -> Iterator[Limit]:
    """A person who writes over the WebSocket: turns, and a sign of life every few seconds."""
    profile = profiles.PROFILES[profiles.DEFAULT]
    turns = TURNS_A_MINUTE / 60
    pings = 1 / Timing().ping_every
    # At most: as long as the model speaks, a piece as often as one may be sent.
    pieces = round(usage.TURN_SECONDS / DELTA_SECONDS)
    sent = turns + pings
    messages = turns * (_TURN_MESSAGES + pieces) + 2 * pings
    functions = turns * _TURN_FUNCTIONS_SECONDS + sent * voice_cost.ROUTE_SECONDS
    tokens = TURNS_A_MINUTE * (profile.input_tokens + profile.output_tokens)
    yield Limit("text", quotas.LAMBDA_CONCURRENCY, functions)
    yield Limit("text", quotas.API_RATE, messages)
    yield Limit("text", _own_rate(configuration), sent)
    yield Limit("text", quotas.API_CONNECTIONS, 1 / (TEXT_SESSION_MINUTES * 60))
    yield Limit("text", quotas.MODEL_TOKENS, tokens)
    if configuration.enable_rag:
        yield Limit("text", quotas.EMBEDDED_TOKENS, TURNS_A_MINUTE * usage.QUERY_TOKENS)
    yield from _tables(configuration, "text", turns * usage.TURN_WRITES, turns * usage.TURN_READS)
    yield Limit("text", quotas.KEY_REQUESTS, turns * usage.TURN_KEY_REQUESTS)
    if configuration.auth == "cognito":
        yield Limit("text", quotas.SIGN_INS, 1 / (min(TEXT_SESSION_MINUTES, TOKEN_MINUTES) * 60))


def _voice(configuration: "Configuration") -> Iterator[Limit]:
    """A call: the microphone is open all the time, and the assistant speaks half of it."""
    sizes = configuration.sizes
    minute = {line.name: line.count for line in voice_cost.lines(memory_mb=sizes.voice_memory_mb)}
    second = {name: count / 60 for name, count in minute.items()}
    messages = second["messages of audio in"] + second["other messages"]
    yield Limit("voice", quotas.LAMBDA_CONCURRENCY, 1 + second["invocations"] * voice_cost.ROUTE_SECONDS)
    yield Limit("voice", quotas.API_RATE, messages)
    yield Limit("voice", _own_calls(configuration), 1)
    yield Limit("voice", quotas.API_CONNECTIONS, 1 / (CALL_MINUTES * 60))
    # The frames have a table of their own, which is on demand in every environment.
    yield from _on_demand("voice", second["write units of audio"], second["read units"])
    if sizes.table_billing == "provisioned":
        yield Limit("voice", _own_units(configuration, "write"), second["other write units"])
    yield Limit("voice", quotas.KEY_REQUESTS, voice_cost.TURNS * usage.TURN_KEY_REQUESTS / 60)
    if configuration.auth == "cognito":
        yield Limit("voice", quotas.SIGN_INS, 1 / (CALL_MINUTES * 60))
    if configuration.voice_engine[0] == "nova-sonic":
        yield Limit("voice", quotas.SPEECH_STREAMS, 1)
        return
    yield Limit("voice", quotas.TRANSCRIBED_STREAMS, 1)
    yield Limit("voice", quotas.SPOKEN_STREAMS, voice_cost.ASSISTANT_SHARE)
    tokens = usage.CASCADE_INPUT_TOKENS + usage.CASCADE_OUTPUT_TOKENS
    yield Limit("voice", quotas.MODEL_TOKENS, voice_cost.TURNS * tokens)


def _tables(configuration: "Configuration", medium: str, writes: float, reads: float) -> Iterator[Limit]:
    """Of the table that is used most."""
    if configuration.sizes.table_billing != "provisioned":
        yield from _on_demand(medium, writes, reads)
        return
    yield Limit(medium, _own_units(configuration, "write"), writes)
    yield Limit(medium, _own_units(configuration, "read"), reads)


def _on_demand(medium: str, writes: float, reads: float) -> Iterator[Limit]:
    yield Limit(medium, quotas.TABLE_START_WRITES, writes)
    yield Limit(medium, quotas.TABLE_START_READS, reads)
    yield Limit(medium, quotas.TABLE_WRITES, writes)
    yield Limit(medium, quotas.TABLE_READS, reads)


def _own_units(configuration: "Configuration", kind: str) -> Quota:
    return Quota(
        service="Parley",
        what=f"{kind} units a second that sizes.tableMaxCapacity lets a table grow to",
        value=configuration.sizes.table_max_capacity,
        source="docs/configuration.md",
        remedy="Raise sizes.tableMaxCapacity, or bill on demand.",
    )


def _own_rate(configuration: "Configuration") -> Quota:
    return Quota(
        service="Parley",
        what=f"messages a second that sizes.throttleRate lets in ({MESSAGES_PER_REQUEST} times it)",
        value=configuration.sizes.throttle_rate * MESSAGES_PER_REQUEST,
        source="docs/configuration.md",
        remedy="Raise sizes.throttleRate.",
    )


def _own_calls(configuration: "Configuration") -> Quota:
    return Quota(
        service="Parley",
        what=f"calls that sizes.voiceCalls lets in ({FRAMES_PER_CALL} frames a second each)",
        value=configuration.sizes.voice_calls,
        source="docs/configuration.md",
        remedy="Raise sizes.voiceCalls.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    made = parser(
        "capacity",
        description="Say which limit is reached first as concurrent sessions grow, and what to raise or shard there.",
        examples=_EXAMPLES,
        notes="docs/capacity.md says what is assumed. An account may have other quotas: scripts/doctor asks for some.",
        deployed=False,
    )
    made.add_argument("--env", default="dev", metavar="NAME", help="an environment of cdk.json (default dev)")
    made.add_argument("--sessions", type=float, metavar="N", help="also say how much of each limit N sessions use")
    add_flags(made)
    options = made.parse_args(arguments)
    if options.sessions is not None and options.sessions <= 0:
        made.error("--sessions is more than 0")
    return run(_capacity, options)


def _capacity(options: argparse.Namespace) -> int:
    # Imported here: it starts the CDK's libraries.
    from stacks.config import ConfigurationError, load

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    try:
        configuration = load({**context, **dict(options.flags), "env": options.env})
    except ConfigurationError as error:
        raise OperationError(str(error)) from error
    found = limits(configuration)
    if options.json:
        shown = [limit.document(options.sessions) for limit in found]
        print_json({"environment": options.env, "quotas_read": quotas.READ, "limits": shown})
        return DONE
    share = () if options.sessions is None else (f"used by {options.sessions:g}",)
    rows = [
        (
            f"{math.floor(limit.sessions):,}",
            limit.medium,
            limit.quota.service,
            f"{limit.quota.value:,.0f} {limit.quota.what}" + (" *" if limit.quota.second_hand else ""),
            f"{limit.used:.3g}",
            *((f"{limit.share(options.sessions):.1%}",) if share else ()),
            limit.quota.remedy,
        )
        for limit in found
    ]
    columns = ("sessions", "medium", "service", "limit", "one uses", *share, "what to raise or shard")
    print_table(columns, rows, title=f"{options.env}: the limits of sessions at once")
    print("\n* second-hand, or assumed: look into Service Quotas.")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
