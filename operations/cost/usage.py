"""What use costs: a written turn, a minute of voice, a document, and what comes with any use in a month.

Memory, models, engine and stores are those of the templates. How many requests of which size a turn makes is derived
from the code, and stands here as constants; no invoice has confirmed them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parley.conversation.prices import PRICES_AS_OF as MODELS_READ
from parley.conversation.prices import cost_usd

from benchmarks import voice_cost
from operations import prices
from operations.assembly import Assembly
from operations.cost.bill import Line, times
from operations.cost.profiles import Profile
from operations.prices import Price

TURN_SECONDS = 4.0
"""That the function of a turn waits, most of it for the model."""
RETRIEVAL_SECONDS = 0.4
TURN_WRITES = 28
"""Write units: a transaction that stores two messages, the conversation and a marker at twice the units (20), the
idempotency record twice, and counters of use."""
TURN_READS = 8
"""Read units: ten messages of about a kilobyte, the conversation, and five passages' records."""
TURN_KEY_REQUESTS = 3
TURN_LOG_BYTES = 6_000
"""Of all functions and the access log."""
TURN_OUT_BYTES = 8_000
QUERY_TOKENS = 30
"""Of the question that is embedded."""
KEPT_BYTES = 4_000
"""Of a turn in its table: two encrypted messages."""

DOCUMENT_SECONDS = 6.0
CHUNK_TOKENS = 512 - 80
"""That a chunk adds, without what it repeats of the one before."""
CHUNK_WRITES = 5
"""Write units: the record of a chunk with its text, and its share of the document's."""
CHUNK_VECTOR_BYTES = 1024 * 4 + 2_500
"""A vector of 1,024 numbers, and the text beside it."""
DOCUMENT_QUEUE_REQUESTS = 3
PDF_BYTES_A_TOKEN = 20
"""Of the file: ten pages are about 120 KB."""

CUSTOM_METRICS = 30
"""That functions report when they are used."""
FREE_CUSTOM_METRICS = 10

TOKEN_CHARACTERS = 4
QUESTION_TEXT_UNITS = 1
"""Of a question that a guardrail judges: it is not shown what else is in the prompt."""

SPOKEN_CHARACTERS = 15
"""A second of speech."""
CASCADE_INPUT_TOKENS = 3_000
CASCADE_OUTPUT_TOKENS = 60
"""Of a spoken turn, which is short."""

_MODELS_SOURCE = "https://aws.amazon.com/bedrock/pricing/"


@dataclass(frozen=True, slots=True)
class Usage:
    """What use costs."""

    turn: list[Line]
    voice_minute: list[Line]
    """Empty without voice."""
    document: list[Line]
    """Empty without retrieval."""
    month: list[Line]
    """What the profile's month costs, all of it."""
    unpriced: list[str]


class _Deployed:
    """What the templates say that a price depends on."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._functions = {
            str(function.properties.get("Handler", "")).removeprefix("parley.functions."): function.properties
            for function in assembly.resources("AWS::Lambda::Function")
        }
        tables = list(assembly.resources("AWS::DynamoDB::Table"))
        on_demand = [table for table in tables if table.properties.get("BillingMode") == "PAY_PER_REQUEST"]
        self.pays_for_units = len(on_demand) * 2 > len(tables)
        """Whether most tables are paid for by the request. Counters and audio frames are in any case."""

    def has(self, *types: str) -> bool:
        return next(self._assembly.resources(*types), None) is not None

    def is_there(self, function: str) -> bool:
        return f"{function}.handler" in self._functions

    def memory_gb(self, function: str) -> float:
        return float(self._functions[f"{function}.handler"]["MemorySize"]) / 1024

    def setting(self, function: str, name: str) -> Any:
        variables: Mapping[str, Any] = self._functions[f"{function}.handler"]["Environment"]["Variables"]
        return variables.get(name)

    def guardrail(self) -> Mapping[str, Any] | None:
        """The guardrail that the templates make."""
        found = next(self._assembly.resources("AWS::Bedrock::Guardrail"), None)
        return found.properties if found else None

    def speaks_through_cascade(self) -> bool:
        """Whether the engine that a call gets unless it asks for another is `cascade`."""
        engines = self.setting("voice_worker", "VOICE_ENGINES")
        return bool(engines) and json.loads(engines)[0] == "cascade"

    def model(self) -> str:
        """The first model of quick turns, which is what most turns use."""
        return str(json.loads(self.setting("chat", "MODELS"))["quick"][0])


def usage(assembly: Assembly, profile: Profile) -> Usage:
    """What the environment of an assembly costs when it is used."""
    deployed = _Deployed(assembly)
    unpriced: list[str] = []
    turn = _turn(deployed, profile, unpriced)
    minute = _minute(deployed, unpriced) if deployed.is_there("voice_worker") else []
    document = _document(deployed, profile, unpriced) if deployed.is_there("ingestion") else []
    month = [
        *times(turn, profile.text_turns),
        *times(minute, profile.voice_minutes),
        *times(document, profile.documents),
        *_any_use(deployed, profile),
    ]
    return Usage(turn, minute, document, month, unpriced)


def _turn(deployed: _Deployed, profile: Profile, unpriced: list[str]) -> list[Line]:
    lines = [
        Line("API Gateway", "requests", 1, prices.HTTP_REQUEST),
        *_invocation("turns", TURN_SECONDS * deployed.memory_gb("chat")),
        *_units(deployed, TURN_WRITES, TURN_READS),
        Line("KMS", "requests", TURN_KEY_REQUESTS, prices.KEY_REQUEST),
        Line("CloudWatch", "logs", TURN_LOG_BYTES / 1e9, prices.LOG_GB),
        Line("X-Ray", "traces", 1, prices.TRACE),
    ]
    if deployed.is_there("retrieval"):
        lines += _invocation("retrieval", RETRIEVAL_SECONDS * deployed.memory_gb("retrieval"))
        lines += _embedded(deployed, QUERY_TOKENS, unpriced)
        if deployed.has("AWS::S3Vectors::VectorBucket"):
            lines.append(Line("S3", "vector queries", 1, prices.VECTOR_QUERY))
        if deployed.has("AWS::OpenSearchServerless::CollectionGroup"):
            _say(unpriced, "OCU hours of a NextGen collection while it is awake, 0.24 dollars each")
    lines += _guardrail(deployed, profile, unpriced)
    lines += _edge(deployed, TURN_OUT_BYTES)
    return lines + _model(deployed.model(), profile.input_tokens, profile.output_tokens, unpriced)


def _minute(deployed: _Deployed, unpriced: list[str]) -> list[Line]:
    transport = voice_cost.lines(memory_mb=round(deployed.memory_gb("voice_worker") * 1024))
    lines = [
        Line(_service_of(line.price), line.name, line.count, line.price)
        for line in transport
        if deployed.pays_for_units
        or line.name in voice_cost.FRAME_UNITS
        or line.price not in (prices.WRITE_UNIT, prices.READ_UNIT)
    ]
    share, seconds = voice_cost.ASSISTANT_SHARE, 60 * voice_cost.ASSISTANT_SHARE
    if not deployed.speaks_through_cascade():
        model = str(deployed.setting("voice_worker", "VOICE_MODEL"))
        if model != "amazon.nova-2-sonic-v1:0":
            _say(unpriced, f"the model {model}")
            return lines
        tokens = 60 * voice_cost.SPEECH_TOKENS
        return [
            *lines,
            Line("Bedrock", "speech heard", tokens, prices.SPEECH_TOKEN_IN),
            Line("Bedrock", "speech spoken", tokens * share, prices.SPEECH_TOKEN_OUT),
        ]
    return [
        *lines,
        Line("Transcribe", "minutes heard", 1, prices.TRANSCRIBED_MINUTE),
        Line("Polly", "characters spoken", seconds * SPOKEN_CHARACTERS, prices.SPOKEN_CHARACTER),
        *times(_model(deployed.model(), CASCADE_INPUT_TOKENS, CASCADE_OUTPUT_TOKENS, unpriced), voice_cost.TURNS),
    ]


def _document(deployed: _Deployed, profile: Profile, unpriced: list[str]) -> list[Line]:
    chunks = max(1.0, profile.document_tokens / CHUNK_TOKENS)
    size = profile.document_tokens * PDF_BYTES_A_TOKEN / 1e9
    lines = [
        *_invocation("ingestion", DOCUMENT_SECONDS * deployed.memory_gb("ingestion")),
        *_embedded(deployed, chunks * 512, unpriced),
        *_units(deployed, chunks * CHUNK_WRITES, chunks),
        Line("SQS", "requests", DOCUMENT_QUEUE_REQUESTS, prices.QUEUE_REQUEST),
        Line("S3", "uploads", 1, prices.BUCKET_WRITE),
        Line("S3", "documents kept", size, prices.BUCKET_GB),
        *_kept(chunks * CHUNK_WRITES * 1e3),
    ]
    if deployed.has("AWS::S3Vectors::VectorBucket"):
        vectors = chunks * CHUNK_VECTOR_BYTES / 1e9
        lines += [
            Line("S3", "vectors written", vectors, prices.VECTOR_WRITE_GB),
            Line("S3", "vectors kept", vectors, prices.VECTOR_GB),
        ]
    return lines


def _any_use(deployed: _Deployed, profile: Profile) -> list[Line]:
    """What a month of use costs besides what each use does. Kept data counts for the month that added it."""
    if not (profile.text_turns or profile.voice_minutes or profile.documents):
        return []
    lines = [
        Line("CloudWatch", "custom metrics", CUSTOM_METRICS - FREE_CUSTOM_METRICS, prices.CUSTOM_METRIC),
        *_kept(profile.text_turns * KEPT_BYTES),
    ]
    if deployed.has("AWS::Cognito::UserPool"):
        lines.append(Line("Cognito", "users", max(0.0, profile.users - prices.FREE_MAU), prices.MONTHLY_USER))
    return lines


def _guardrail(deployed: _Deployed, profile: Profile, unpriced: list[str]) -> list[Line]:
    policies = deployed.guardrail()
    if policies is None:
        if deployed.setting("chat", "GUARDRAIL"):
            _say(unpriced, "a guardrail that is in no template")
        return []
    answer = math.ceil(profile.output_tokens * TOKEN_CHARACTERS / 1000)
    lines = []
    if "ContentPolicyConfig" in policies:
        lines.append(Line("Bedrock", "text filtered", QUESTION_TEXT_UNITS + answer, prices.FILTERED_TEXT))
    if "SensitiveInformationPolicyConfig" in policies:
        lines.append(Line("Bedrock", "text masked", answer, prices.MASKED_TEXT))
    return lines


def _invocation(what: str, gb_seconds: float) -> list[Line]:
    return [
        Line("Lambda", f"GB-seconds of {what}", gb_seconds, prices.GB_SECOND),
        Line("Lambda", f"invocations for {what}", 1, prices.INVOCATION),
    ]


def _units(deployed: _Deployed, writes: float, reads: float) -> list[Line]:
    # Where capacity is paid for by the hour, the idle month has it.
    if not deployed.pays_for_units:
        return []
    return [
        Line("DynamoDB", "write units", writes, prices.WRITE_UNIT),
        Line("DynamoDB", "read units", reads, prices.READ_UNIT),
    ]


def _kept(size: float) -> list[Line]:
    return [
        Line("DynamoDB", "data kept", size / 1e9, prices.TABLE_GB),
        Line("DynamoDB", "data that can be restored", size / 1e9, prices.RECOVERY_GB),
    ]


def _edge(deployed: _Deployed, out_bytes: float) -> list[Line]:
    if not deployed.has("AWS::CloudFront::Distribution"):
        return [Line("data transfer", "to the internet", out_bytes / 1e9, prices.OUT_GB)]
    lines = [
        Line("CloudFront", "requests", 1, prices.EDGE_REQUEST),
        Line("CloudFront", "functions", 1, prices.EDGE_FUNCTION),
        Line("CloudFront", "data", out_bytes / 1e9, prices.EDGE_GB),
    ]
    if deployed.has("AWS::WAFv2::WebACL"):
        lines.append(Line("WAF", "requests", 1, prices.WEB_ACL_REQUEST))
    return lines


def _embedded(deployed: _Deployed, tokens: float, unpriced: list[str]) -> list[Line]:
    model = str(deployed.setting("retrieval", "EMBEDDING_MODEL"))
    if model != "amazon.titan-embed-text-v2:0":
        _say(unpriced, f"the model {model}")
        return []
    return [Line("Bedrock", "embedded tokens", tokens, prices.EMBEDDED_TOKEN)]


def _model(model: str, input_tokens: float, output_tokens: float, unpriced: list[str]) -> list[Line]:
    million = 1_000_000
    read, written = cost_usd(model, million, 0), cost_usd(model, 0, million)
    if read is None or written is None:
        _say(unpriced, f"the model {model}")
        return []
    source = ("token", _MODELS_SOURCE, "third parties that reproduce Amazon's list", str(MODELS_READ))
    return [
        Line("Bedrock", f"tokens to {model}", input_tokens, Price(read / million, *source)),
        Line("Bedrock", f"tokens of {model}", output_tokens, Price(written / million, *source)),
    ]


def _service_of(price: Price) -> str:
    services = {
        prices.MESSAGE: "API Gateway",
        prices.CONNECTION_MINUTE: "API Gateway",
        prices.WRITE_UNIT: "DynamoDB",
        prices.READ_UNIT: "DynamoDB",
        prices.GB_SECOND: "Lambda",
        prices.INVOCATION: "Lambda",
        prices.LOG_GB: "CloudWatch",
        prices.OUT_GB: "data transfer",
    }
    return services[price]


def _say(unpriced: list[str], what: str) -> None:
    if what not in unpriced:
        unpriced.append(what)
