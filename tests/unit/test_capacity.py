"""The arithmetic of how many sessions an account and an environment hold."""

import json
import math

import pytest

from benchmarks import voice_cost
from operations import capacity, quotas
from operations.assembly import ROOT
from operations.capacity import Limit, limits
from stacks.config import Configuration, load
from stacks.sizes import MESSAGES_PER_REQUEST

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]


def configured(env: str = "dev", **flags: str) -> Configuration:
    return load({**CONTEXT, **flags, "env": env})


def named(found: list[Limit], medium: str, what: str) -> Limit:
    [limit] = [limit for limit in found if limit.medium == medium and what in limit.quota.what]
    return limit


def test_limits_begin_with_the_one_that_is_reached_first() -> None:
    found = limits(configured())

    assert [limit.sessions for limit in found] == sorted(limit.sessions for limit in found)
    assert {limit.medium for limit in found} == {"text", "voice"}
    assert all(limit.quota.remedy and limit.quota.source for limit in found)


def test_the_first_limit_of_calls_is_the_speech_models() -> None:
    assert limits(configured())[0].quota is quotas.SPEECH_STREAMS
    assert limits(configured(voiceEngine="cascade"))[0].quota is quotas.SPOKEN_STREAMS


def test_a_call_uses_what_its_bill_says() -> None:
    bill = {line.name: line.count for line in voice_cost.lines(memory_mb=configured().sizes.voice_memory_mb)}
    used = named(limits(configured()), "voice", "write units a second of a table").used

    assert used == pytest.approx(bill["write units of audio"] / 60)


def test_an_environments_own_sizes_are_limits() -> None:
    configuration = configured()
    found = limits(configuration)

    assert named(found, "voice", "sizes.voiceCalls").sessions == configuration.sizes.voice_calls
    rate = named(found, "text", "sizes.throttleRate")
    assert rate.quota.value == configuration.sizes.throttle_rate * MESSAGES_PER_REQUEST


def test_provisioned_tables_are_as_large_as_they_were_allowed_to_grow() -> None:
    configuration = configured("prod")
    found = limits(configuration)

    assert named(found, "text", "write units").quota.value == configuration.sizes.table_max_capacity
    # But for the frames: a call brings more than they could follow.
    assert named(found, "voice", "write units a second of a table").quota is quotas.TABLE_WRITES


def test_what_an_environment_does_not_have_limits_nothing() -> None:
    found = limits(configured(enableVoice="false", enableRag="false", auth="api-key"))

    assert {limit.medium for limit in found} == {"text"}
    assert not {"Cognito", "Transcribe", "Polly"} & {limit.quota.service for limit in found}
    assert quotas.EMBEDDED_TOKENS not in {limit.quota for limit in found}


def test_the_command_says_how_much_so_many_sessions_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--sessions", "10", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["environment"] == "dev"
    first = shown["limits"][0]
    assert (first["what"], first["sessions"], first["share"]) == (quotas.SPEECH_STREAMS.what, 20, 0.5)


def test_the_table_has_a_line_for_each_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--env", "prod"]) == 0

    shown = capsys.readouterr().out
    assert all(f"{limit.quota.value:,.0f}" in shown for limit in limits(configured("prod")))


def test_an_unknown_environment_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--env", "moon"]) == 1
    assert "moon" in capsys.readouterr().err


def test_no_sessions_are_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        capacity.main(["--sessions", "0"])
    assert ended.value.code == 2


def test_the_page_shows_the_limits_of_dev() -> None:
    page = (ROOT / "docs" / "capacity.md").read_text()
    rows = [
        f"| {math.floor(limit.sessions):,} | {limit.medium} | {limit.quota.service} | {limit.quota.value:,.0f} "
        for limit in limits(configured())
    ]

    assert [row for row in rows if row not in page] == []
