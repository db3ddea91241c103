"""The masker behind every logger: what it hides, what it leaves alone, and that no logger is without it."""

import importlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.functions import masking, telemetry
from parley.functions.masking import LONGEST_TEXT, MaskingFormatter, mask, mask_exception, mask_value
from parley.functions.national_ids import has_luhn_digit, is_iban

CORPUS: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "corpora" / "personal_data.json").read_text())

HARMLESS = [
    "550e8400-e29b-41d4-a716-446655440000",
    # Where an IBAN's country, digits and checksum stand by chance.
    "853720c5-c833-0e01-de37-20e8960a80da 2038-01-01T00:00:00+00:00",
    "request 12345678-1234-1234-1234-123456789012 ended",
    "Kx1c2hABIAMEJ1g=",
    "1-5759e988-bd862e3fe1be46a994272793",
    "Root=1-67891233-abcdef012345678912345678",
    "arn:aws:lambda:eu-central-1:123456789012:function:Parley-dev-Assistant-Chat",
    "arn:aws:dynamodb:us-east-1:012345678901:table/Conversations",
    "https://sqs.us-east-1.amazonaws.com/123456789012/Parley-Queue",
    "2026-11-21T09:30:15.123456Z",
    "2026-11-21 09:30:15,123+0000",
    "20261121T093000123Z_input.wav",
    "192.168.100.123",
    "took 1234.5678 ms",
    "Duration: 123456789 ns",
    "read 104857600 bytes in 0.123456789 s",
    "12345678 B in 86400 s",
    "at 1732203188 and 1732203188123",
    "018e5f6a7b8c9d0e1f2a3b4c5d6e",
    "turn#00000012",
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "HTTP 503 after 4 of 8 attempts",
    "amazon.titan-embed-text-v2:0, 1024 dimensions",
]


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: f"{case['kind']}-{case['secret']}")
def test_what_names_a_person_or_opens_a_door_is_hidden(case: dict[str, str]) -> None:
    assert case["secret"] in case["text"]
    assert case["secret"] not in mask(case["text"])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_lines_are_found_by_stays(text: str) -> None:
    assert mask(text) == text
    assert mask(f"It was {text}, it says.") == f"It was {text}, it says."


@pytest.mark.parametrize("word", ["s", "B", "second", "ms", "MB", "tokens", "characters"])
def test_a_word_after_a_phone_number_makes_it_no_amount(word: str) -> None:
    assert "13812345678" not in mask(f"call 13812345678 {word}")


SURROUNDINGS = st.text(alphabet=st.characters(categories=["L", "P", "S"], exclude_characters="@%._-+*/"), max_size=40)


# Before these a number is an amount, however long: ten seconds are eleven digits of nanoseconds.
AFTER = SURROUNDINGS.filter(lambda text: re.match(r"(?:ns|us|µs|bytes?)\b", text) is None)


@given(before=SURROUNDINGS, case=st.sampled_from(CORPUS), after=AFTER)
def test_it_is_hidden_wherever_it_stands(before: str, case: dict[str, str], after: str) -> None:
    assert case["secret"] not in mask(f"{before} {case['text']} {after}")


@given(
    number=st.integers(10**11, 10**12 - 1), where=st.sampled_from(["{}", "({})", "CCCD:{}", "={}&", '"{}"', "số {}."])
)
def test_every_number_of_twelve_digits_is_hidden(number: int, where: str) -> None:
    assert str(number) not in mask(where.format(number))


@given(st.uuids(), st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.binary(min_size=14, max_size=14))
def test_ids_and_times_of_our_own_stay(id_: uuid.UUID, time: datetime, random: bytes) -> None:
    line = f"{id_} {time.replace(tzinfo=UTC).isoformat()} conversation {random.hex()}x"
    assert mask(line) == line


@given(st.text(max_size=400))
def test_any_text_is_masked_without_an_error_and_once_is_enough(text: str) -> None:
    once = mask(text)
    assert mask(once).count("@") <= once.count("@") <= text.count("@")


@pytest.mark.parametrize(
    "name", [name for name in vars(masking) if name.isupper() and isinstance(getattr(masking, name), str)]
)
def test_no_pattern_can_take_more_than_linear_time(name: str) -> None:
    """Every repetition has a small bound, or never gives back what it took."""
    # The one way to see a pattern's parts.
    parse: Callable[[str], Any] = importlib.import_module("re._parser").parse
    for operation, bounds in _repetitions(parse(getattr(masking, name))):
        assert operation == "POSSESSIVE_REPEAT" or bounds[1] <= 64, (name, operation, bounds)


def _repetitions(parts: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    for part in parts if isinstance(parts, list | tuple) or hasattr(parts, "data") else []:
        if isinstance(part, tuple) and len(part) == 2 and str(part[0]).endswith("_REPEAT"):
            yield str(part[0]), (int(part[1][0]), int(part[1][1]))
        if isinstance(part, list | tuple) or hasattr(part, "data"):
            yield from _repetitions(part)


def test_a_text_is_cut_before_it_costs_too_much() -> None:
    masked = mask("a" * LONGEST_TEXT + " ada@example.com")
    assert masked.endswith("[cut]")
    assert len(masked) == LONGEST_TEXT + len("[cut]")


def test_a_structure_is_masked_in_all_its_parts() -> None:
    value = {
        "who": "ada@example.com",
        "bob@example.com": ["0912345678", {"set": {"079201001234"}}],
        "Authorization": "anything",
        "ticket": 17,
        "api_key": None,
        "card": 4111111111111111,
        "bytes": 123456789,
        "latency": 12.5,
        "good": True,
        "object": ValueError("carol@example.com"),
        "timestamp": "2026-11-21 09:30:15,123+0000",
    }
    masked = mask_value(value)
    text = json.dumps(masked)
    for secret in ("ada@", "bob@", "carol@", "0912345678", "079201001234", "anything", "4111111111111111", "17"):
        assert secret not in text
    assert (masked["bytes"], masked["latency"], masked["good"], masked["api_key"]) == (123456789, 12.5, True, None)
    assert masked["timestamp"] == value["timestamp"]


def test_a_structure_that_holds_itself_is_cut() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert "[cut]" in json.dumps(mask_value(endless))


def test_the_services_own_lines_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(MaskingFormatter())
    logger = logging.Logger("service")
    logger.addHandler(handler)
    try:
        _fail("079201001234")
    except ValueError:
        logger.exception("Not ada@example.com", extra={"whose": "bob@example.com"}, stack_info=True)
    line = stream.getvalue()
    for secret in ("079201001234", "ada@", "bob@"):
        assert secret not in line
    assert json.loads(line)["exception_name"] == "ValueError"
    assert isinstance(telemetry.logger.handlers[0].formatter, MaskingFormatter)


@pytest.mark.parametrize("name", ["", "botocore.endpoint", "urllib3", "aws_xray_sdk", "some.library"])
def test_every_other_logger_is_masked_whoever_prints_it(name: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        logger.warning("Sending %s to %s", {"to": "ada@example.com"}, "0912345678")
        logger.warning({"mail": "bob@example.com"})
        logger.warning(ValueError("carol@example.com"))
        logger.warning("%d", "079201001234")
        try:
            _fail("dave@example.com")
        except ValueError:
            logger.exception("It failed", stack_info=True)
    finally:
        logger.removeHandler(handler)
    said = stream.getvalue()
    assert said.count("[email]") >= 4
    for secret in ("ada@", "bob@", "carol@", "dave@", "0912345678"):
        assert secret not in said


def test_an_exception_that_ends_a_function_is_masked_with_its_causes() -> None:
    cause = ValueError("ada@example.com")
    cause.add_note("079201001234")
    error = KeyError({"to": "bob@example.com"}, 7)
    error.__cause__, cause.__context__ = cause, error

    mask_exception(ExceptionGroup("two", [error]))

    assert repr(error) == "KeyError({'to': '[email]'}, 7)"
    assert repr(cause) == "ValueError('[email]')"
    assert cause.__notes__ == ["[id]"]


def test_lambda_never_sees_what_an_exception_said(lambda_context: Any) -> None:
    def handler(event: Any, context: Any) -> None:
        _fail(event["text"])

    with pytest.raises(ValueError, match=r"^\[email\]$"):
        telemetry.instrument(handler)({"text": "ada@example.com"}, lambda_context)


@pytest.fixture
def lambda_context() -> Any:
    class Context:
        function_name = "chat"
        memory_limit_in_mb = 512
        invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:chat"
        aws_request_id = str(uuid.uuid4())

    return Context()


TRACED = """
import os
import boto3
from aws_xray_sdk.core import xray_recorder
from moto import mock_aws

# From here on it is in Lambda, but that the segment is not Lambda's own.
os.environ["LAMBDA_TASK_ROOT"] = "/var/task"
from parley.functions import telemetry

class Emitter:
    def send_entity(self, entity):
        print(entity.serialize())

xray_recorder.configure(sampling=False, emitter=Emitter(), context_missing="IGNORE_ERROR", service="test")

class Context:
    function_name, memory_limit_in_mb, aws_request_id = "f", 512, "request-1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f"

def work(event, context):
    s3 = boto3.client("s3")
    s3.put_object(Bucket="files", Key=event["text"], Body=event["text"].encode(), Metadata={"whose": "ada@example.com"})
    s3.get_object(Bucket="files", Key=event["text"])
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=event["text"])
    raise ValueError(event["text"])

with mock_aws():
    boto3.client("s3").create_bucket(Bucket="files")
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    handler = telemetry.instrument(work)
    xray_recorder.begin_segment("function")
    try:
        handler({"text": "ada@example.com/079201001234.md", "queue": queue}, Context())
    except ValueError:
        pass
    xray_recorder.end_segment()
"""


def test_a_trace_names_calls_and_nothing_that_they_carried() -> None:
    # In a process of its own: tracing changes botocore for as long as a process lives.
    settings = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POWERTOOLS_"))}
    found = subprocess.run(
        [sys.executable, "-c", TRACED],
        env=environment | settings | {"POWERTOOLS_SERVICE_NAME": "test"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"PutObject", "GetObject", "SendMessage"} <= set(re.findall(r'"operation": ?"(\w+)"', found.stdout))
    assert '"type": "ValueError"' in found.stdout
    for secret in ("ada@", "079201001234", ".md"):
        assert secret not in found.stdout
        assert secret not in found.stderr


@given(st.integers(0, 10**15))
def test_a_luhn_digit_fits_exactly_one_of_ten(number: int) -> None:
    assert sum(has_luhn_digit(f"{number}{digit}") for digit in range(10)) == 1


def test_an_iban_is_of_its_countrys_length_and_check_digits() -> None:
    assert is_iban("DE89 3704 0044 0532 0130 00")
    assert not is_iban("DE88 3704 0044 0532 0130 00")
    assert not is_iban("DE89 3704 0044 0532 0130 0")
    assert not is_iban("ZZ89 3704 0044 0532 0130 00")


def _fail(text: str) -> None:
    raise ValueError(text)
