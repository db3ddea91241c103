"""How large an environment is: the typed form of the flag `sizes`. The defaults are those of a small environment."""

from dataclasses import dataclass, fields
from typing import Any

from stacks.flags import Parser, boolean, choice, integer, json_object, one_of_numbers, parse, refuse_unknown, text

# The retention periods that CloudWatch Logs offers, up to ten years.
_LOG_RETENTION_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
)

MESSAGES_PER_REQUEST = 10
"""What the WebSocket API lets in for each request of `throttle_rate`: a client that listens reports every two seconds
what it has played and sends a ping every five, also while nobody asks for anything."""
FRAMES_PER_CALL = 12
"""A second: a client that speaks sends 11.1, and more while it catches up after a lost connection."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Capacities, limits and thresholds of one environment."""

    table_billing: str = "on-demand"
    """`on-demand`, or `provisioned` with the three capacities below."""
    table_read_capacity: int = 5
    """Read units that each provisioned table starts with."""
    table_write_capacity: int = 5
    """Write units that each provisioned table starts with."""
    table_max_capacity: int = 100
    """Read and write units that a provisioned table scales up to."""
    point_in_time_recovery: bool = True
    """Whether the tables that hold what users wrote can be restored to any second of the last 35 days."""
    function_memory_mb: int = 512
    """Memory of the functions that serve one short request."""
    chat_memory_mb: int = 1024
    """Memory of the functions that hold a turn: it buys processor time, hence cold starts."""
    knowledge_memory_mb: int = 1769
    """Memory of retrieval and ingestion; 1,769 MB is one whole virtual processor."""
    voice_memory_mb: int = 384
    """Memory of a session worker: one call."""
    voice_calls: int = 50
    """Calls at the same time; what the route of audio frames admits follows from it."""
    ingestion_concurrency: int = 5
    """Documents worked on at the same time; AWS takes 2 and more."""
    log_retention_days: int = 30
    """How long logs are kept."""
    throttle_rate: int = 50
    """Requests a second that each API accepts."""
    throttle_burst: int = 100
    """Requests that each API accepts at once."""
    requests_per_minute: int = 300
    """Requests a minute that one user may send; 0 is no limit, here and in what follows."""
    requests_per_minute_per_address: int = 1_200
    """Requests a minute from one IP address, whoever sends them."""
    tokens_per_day: int = 2_000_000
    """Input and output tokens of a user's text turns in a day: some 500 turns of 4,000."""
    voice_minutes_per_day: int = 120
    """Minutes that a user's calls may last in a day."""
    documents_per_day: int = 1_000
    """Documents and recordings that a user may add or replace in a day."""
    dax_node_type: str = "dax.t3.small"
    """The smallest node that DAX offers."""
    dax_nodes: int = 1
    """1, or 3 and more for a cluster that survives a zone."""
    availability_zones: int = 2
    """Zones of the VPC, when a flag needs one."""
    open_search_generation: str = "nextgen"
    """`nextgen` scales to zero after ten idle minutes and then needs 10 to 30 s to answer; `classic` never sleeps."""
    open_search_standby: bool = False
    """Whether a classic collection keeps replicas in a second zone, at twice the price."""
    audio_archive_days: int = 30
    """Days after which recorded audio moves to archive storage, with `enableAudioArchive`."""
    alarm_latency_ms: int = 2_000
    """Parley's own time for a request, without the language model's, that is too long for one request in twenty."""
    alarm_first_audio_ms: int = 2_000
    """From the end of what a user says to the answer's first audio: too long for one answer in twenty."""
    alarm_tokens_per_hour: int = 2_000_000
    """What language models may read and write in an hour before an alarm."""
    alarm_burn_rate_windows: bool = False
    """Whether the two objectives are watched over four windows each, for 0.80 dollars a month more each."""
    canary_percent: int = 10
    """Share of the requests that a new version gets at first, with `enableCanary`."""
    canary_minutes: int = 5
    """How long it has to do well before it gets the rest."""
    alarm_queue_age_seconds: int = 900
    """How long a document may wait for ingestion before an alarm."""


_CAPACITY = integer(1, 40_000)
_MEMORY = integer(128, 10_240)
_QUOTA = integer(0, 1_000_000_000)
_PARSERS: dict[str, Parser] = {
    "tableBilling": choice("on-demand", "provisioned"),
    "tableReadCapacity": _CAPACITY,
    "tableWriteCapacity": _CAPACITY,
    "tableMaxCapacity": _CAPACITY,
    "pointInTimeRecovery": boolean,
    "functionMemoryMb": _MEMORY,
    "chatMemoryMb": _MEMORY,
    "knowledgeMemoryMb": _MEMORY,
    "voiceMemoryMb": _MEMORY,
    # API Gateway's burst, for a whole account, is 5,000 requests.
    "voiceCalls": integer(1, 400),
    "ingestionConcurrency": integer(2, 1_000),
    "logRetentionDays": one_of_numbers(*_LOG_RETENTION_DAYS),
    "throttleRate": integer(1, 10_000),
    "throttleBurst": integer(1, 5_000),
    "requestsPerMinute": _QUOTA,
    "requestsPerMinutePerAddress": _QUOTA,
    "tokensPerDay": _QUOTA,
    "voiceMinutesPerDay": _QUOTA,
    "documentsPerDay": _QUOTA,
    "daxNodeType": text(r"dax\.[a-z][a-z0-9]*\.[a-z0-9]+", 'a DAX node type such as "dax.t3.small"'),
    "daxNodes": one_of_numbers(1, *range(3, 12)),
    "availabilityZones": integer(2, 3),
    "openSearchGeneration": choice("classic", "nextgen"),
    "openSearchStandby": boolean,
    "audioArchiveDays": integer(1, 3_650),
    "alarmLatencyMs": integer(1, 900_000),
    "alarmFirstAudioMs": integer(1, 900_000),
    "alarmTokensPerHour": integer(1, 1_000_000_000_000),
    "alarmBurnRateWindows": boolean,
    "canaryPercent": integer(1, 99),
    "canaryMinutes": integer(1, 720),
    "alarmQueueAgeSeconds": integer(60, 1_209_600),
}


def sizes(value: Any) -> dict[str, Any]:
    """The sizes that a JSON object names, parsed, by their field in `Sizes`."""
    given_sizes = json_object(value)
    refuse_unknown("size", given_sizes, _PARSERS)
    return {
        field.name: parse(f"sizes.{name}", _PARSERS[name], given_sizes[name])
        for name, field in zip(_PARSERS, fields(Sizes), strict=True)
        if name in given_sizes
    }
