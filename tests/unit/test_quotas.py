"""Limits a minute and a day: who is refused, until when, and who is let in when nobody can count."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from parley.conversation.quotas import Allowances, DayUsage, Limits, OwnLimits, Quota, network_of
from parley.errors import QuotaExceeded, StoreUnavailable, Throttled

NOON = datetime(2026, 11, 21, 12, 0, 20, tzinfo=UTC)


@dataclass
class Counters:
    """The UsageStore in memory."""

    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    days: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    own: OwnLimits | None = None
    down: bool = False

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable

    def count_request(self, who: str, minute: str) -> int:
        self._answer()
        self.requests[who, minute] = self.requests.get((who, minute), 0) + 1
        return self.requests[who, minute]

    def day(self, subject: str, date: str) -> DayUsage:
        self._answer()
        return DayUsage(**self.days.get((subject, date), {}), own_limits=self.own)

    def add(self, subject: str, date: str, quota: Quota, amount: int, *, below: int | None = None) -> int | None:
        self._answer()
        used = self.days.setdefault((subject, date), {})
        if below is not None and used.get(quota, 0) >= below:
            return None
        used[quota] = used.get(quota, 0) + amount
        return used[quota]


@dataclass
class World:
    """Allowances over counters in memory, at a time that can be set."""

    limits: Limits
    counters: Counters = field(default_factory=Counters)
    now: datetime = NOON
    failures: int = 0

    @property
    def allowances(self) -> Allowances:
        return Allowances(self.limits, self.counters, on_failure=self._fail, now=lambda: self.now)

    def _fail(self) -> None:
        self.failures += 1


def test_a_minute_admits_its_requests_and_says_when_the_next_one_begins() -> None:
    world = World(Limits(requests_per_minute=2))
    world.allowances.admit_user("ada")
    world.allowances.admit_user("ada")
    with pytest.raises(Throttled, match="2 a minute") as refused:
        world.allowances.admit_user("ada")
    assert (refused.value.code, refused.value.retryable, refused.value.retry_after) == ("throttled", True, 40)
    world.allowances.admit_user("bob")
    world.now = NOON.replace(minute=1, second=0)
    world.allowances.admit_user("ada")


def test_users_and_addresses_are_counted_apart() -> None:
    world = World(Limits(requests_per_minute=1, requests_per_minute_per_address=2))
    for subject in ("ada", "bob"):
        world.allowances.admit_user(subject)
        world.allowances.admit_address("192.0.2.7")
    with pytest.raises(Throttled, match="from this address"):
        world.allowances.admit_address("192.0.2.7")
    world.allowances.admit_address("192.0.2.8")


def test_a_users_name_that_looks_like_an_address_is_no_address() -> None:
    world = World(Limits(requests_per_minute=1, requests_per_minute_per_address=1))
    world.allowances.admit_address("192.0.2.7")
    world.allowances.admit_user("192.0.2.7")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("192.0.2.7, 10.0.0.1", "unknown"),
        ("a#b", "unknown"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_no_limit_counts_nothing() -> None:
    world = World(Limits())
    world.allowances.admit_user("ada")
    world.allowances.admit_address("192.0.2.7")
    world.allowances.check_tokens("ada")
    world.allowances.check_voice("ada")
    assert world.counters.requests == {}


def test_tokens_are_refused_once_they_are_spent_until_the_next_day() -> None:
    world = World(Limits(tokens_per_day=100))
    world.allowances.check_tokens("ada")
    world.allowances.spend_tokens("ada", 99)
    world.allowances.check_tokens("ada")
    world.allowances.spend_tokens("ada", 50)
    with pytest.raises(QuotaExceeded, match="100 tokens of today") as refused:
        world.allowances.check_tokens("ada")
    assert refused.value.code == "quota_exceeded"
    # A client that repeats by itself would repeat for hours.
    assert not refused.value.retryable
    assert refused.value.retry_after == 12 * 3600 - 20
    world.allowances.check_tokens("bob")
    world.now = NOON.replace(day=22, hour=0)
    world.allowances.check_tokens("ada")


def test_minutes_of_calls_end_a_call_and_let_none_begin() -> None:
    world = World(Limits(voice_minutes_per_day=2))
    world.allowances.check_voice("ada")
    world.allowances.spend_voice("ada", 119)
    with pytest.raises(QuotaExceeded, match="2 minutes of calls"):
        world.allowances.spend_voice("ada", 5)
    with pytest.raises(QuotaExceeded):
        world.allowances.check_voice("ada")


def test_documents_are_taken_before_they_are_added_and_given_back_when_they_are_not() -> None:
    world = World(Limits(documents_per_day=2))
    world.allowances.take_document("ada")
    world.allowances.take_document("ada")
    with pytest.raises(QuotaExceeded, match="2 documents today"):
        world.allowances.take_document("ada")
    world.allowances.give_document_back("ada")
    world.allowances.take_document("ada")


@pytest.mark.parametrize(
    ("own", "use"),
    [
        (OwnLimits(tokens_per_day=5), lambda it: (it.spend_tokens("ada", 5), it.check_tokens("ada"))),
        (OwnLimits(voice_minutes_per_day=1), lambda it: it.spend_voice("ada", 60)),
        (OwnLimits(documents_per_day=1), lambda it: (it.take_document("ada"), it.take_document("ada"))),
    ],
)
def test_a_users_own_limit_goes_before_the_environments(own: OwnLimits, use: Callable[[Allowances], object]) -> None:
    world = World(Limits(tokens_per_day=100, voice_minutes_per_day=100, documents_per_day=100), Counters(own=own))
    with pytest.raises(QuotaExceeded):
        use(world.allowances)


def test_an_own_limit_of_zero_is_no_limit() -> None:
    world = World(Limits(documents_per_day=1), Counters(own=OwnLimits(documents_per_day=0)))
    for _ in range(3):
        world.allowances.take_document("ada")


def test_when_nobody_can_count_everybody_is_let_in_and_it_is_noticed() -> None:
    everything = Limits(
        requests_per_minute=1,
        requests_per_minute_per_address=1,
        tokens_per_day=1,
        voice_minutes_per_day=1,
        documents_per_day=1,
    )
    world = World(everything, Counters(down=True))
    it = world.allowances
    for _ in range(2):
        it.admit_user("ada")
        it.admit_address("192.0.2.7")
        it.check_tokens("ada")
        it.spend_tokens("ada", 10)
        it.check_voice("ada")
        it.spend_voice("ada", 100)
        it.take_document("ada")
    it.give_document_back("ada")
    assert world.failures == 2 * 8 + 1
