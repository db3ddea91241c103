"""Limits of what one user, or one network address, may use: requests a minute, and quotas of a day.

Windows are fixed: a UTC minute and a UTC day. One atomic addition counts a request then, where a sliding window would
need a list of moments. The price is that a caller may use a minute's requests at its end and the next one's at its
beginning; API Gateway's own throttle bounds such a burst.

When the counters cannot be read or written, callers are let in: the counters guard a bill, and a bill that is unguarded
for some minutes is better than an assistant that is down. The throttles of API Gateway and AWS WAF hold meanwhile.
"""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec

from parley.errors import QuotaExceeded, StoreUnavailable, Throttled

MINUTE_SECONDS, DAY_SECONDS = 60, 86_400

IPV6_NETWORK_BITS = 64
"""Whoever has one IPv6 address has all of its /64 network, so networks are what is counted."""

type Quota = Literal["tokens", "voice_seconds", "documents"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be used. 0 is no limit."""

    requests_per_minute: int = 0
    """Of one user."""
    requests_per_minute_per_address: int = 0
    tokens_per_day: int = 0
    """Input and output tokens of a user's text turns, as the models count them."""
    voice_minutes_per_day: int = 0
    """How long a user's calls last."""
    documents_per_day: int = 0
    """Documents and recordings that a user adds or replaces."""

    def of_day(self, quota: Quota) -> int:
        """A day's limit in the quota's own unit."""
        match quota:
            case "tokens":
                return self.tokens_per_day
            case "voice_seconds":
                return self.voice_minutes_per_day * MINUTE_SECONDS
            case "documents":
                return self.documents_per_day


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used of a day, and the quotas that an operator gave this user in place of the environment's."""

    tokens: int = 0
    voice_seconds: int = 0
    documents: int = 0
    own_limits: "OwnLimits | None" = None


class OwnLimits(msgspec.Struct, frozen=True, kw_only=True):
    """As Limits, for one user: None is what the environment says, and 0 is no limit."""

    tokens_per_day: int | None = None
    voice_minutes_per_day: int | None = None
    documents_per_day: int | None = None


class UsageStore(Protocol):
    """The counters. Every method raises StoreUnavailable, and soon: callers wait for it."""

    def count_request(self, who: str, minute: str) -> int:
        """Count a request of `who` in a minute (`2026-11-21T09:30Z`): how many it has there now."""

    def day(self, subject: str, date: str) -> DayUsage:
        """What the user has used of a day (`2026-11-21`)."""

    def add(self, subject: str, date: str, quota: Quota, amount: int, *, below: int | None = None) -> int | None:
        """Add to a day's counter; the new sum. With `below`, only while the sum is less; None when it is not."""


class Allowances:
    """Counts, and refuses what goes beyond the limits.

    Every refusal says in `retry_after` when its window ends. `on_failure` hears of a store that did not answer.
    """

    def __init__(
        self,
        limits: Limits,
        store: UsageStore,
        *,
        on_failure: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._limits = limits
        self._store = store
        self._on_failure = on_failure
        self._now = now

    def admit_user(self, subject: str) -> None:
        """Count a request of a user. Raises Throttled."""
        self._admit(f"{subject}#requests", self._limits.requests_per_minute, "Too many requests")

    def admit_address(self, address: str) -> None:
        """Count a request from an IP address. Raises Throttled."""
        limit = self._limits.requests_per_minute_per_address
        self._admit(f"{network_of(address)}#address", limit, "Too many requests from this address")

    def check_tokens(self, subject: str) -> None:
        """Raises QuotaExceeded when the day's tokens are spent: no model is to be asked."""
        self._check(subject, "tokens")

    def spend_tokens(self, subject: str, tokens: int) -> None:
        """Count what a turn took; to be called once, when the turn is stored."""
        self._add(subject, "tokens", tokens)

    def check_voice(self, subject: str) -> None:
        """Raises QuotaExceeded when the day's voice minutes are spent: no call is to begin."""
        self._check(subject, "voice_seconds")

    def spend_voice(self, subject: str, seconds: int) -> None:
        """Count a part of a call. Raises QuotaExceeded when the day's minutes are spent with it: the call is to end."""
        self._add(subject, "voice_seconds", seconds)
        self._check(subject, "voice_seconds")

    def take_document(self, subject: str) -> None:
        """Count a document that is about to be added or replaced. Raises QuotaExceeded."""
        now = self._now()
        try:
            limit = self._limit(self._store.day(subject, _date(now)), "documents")
            if self._store.add(subject, _date(now), "documents", 1, below=limit or None) is None:
                raise _spent("documents", limit, now)
        except StoreUnavailable:
            self._on_failure()

    def give_document_back(self, subject: str) -> None:
        """The document was refused for another reason."""
        self._add(subject, "documents", -1)

    def _admit(self, who: str, limit: int, refusal: str) -> None:
        if not limit:
            return
        now = self._now()
        try:
            count = self._store.count_request(who, now.strftime("%Y-%m-%dT%H:%MZ"))
        except StoreUnavailable:
            self._on_failure()
            return
        if count > limit:
            raise Throttled(
                f"{refusal}: {limit} a minute are allowed. Try again when the next minute begins.",
                retry_after=MINUTE_SECONDS - now.second,
            )

    def _check(self, subject: str, quota: Quota) -> None:
        now = self._now()
        try:
            used = self._store.day(subject, _date(now))
        except StoreUnavailable:
            self._on_failure()
            return
        limit = self._limit(used, quota)
        if limit and getattr(used, quota) >= limit:
            raise _spent(quota, limit, now)

    def _add(self, subject: str, quota: Quota, amount: int) -> None:
        if not amount:
            return
        try:
            self._store.add(subject, _date(self._now()), quota, amount)
        except StoreUnavailable:
            self._on_failure()

    def _limit(self, used: DayUsage, quota: Quota) -> int:
        own = used.own_limits or OwnLimits()
        match quota:
            case "tokens" if own.tokens_per_day is not None:
                return own.tokens_per_day
            case "voice_seconds" if own.voice_minutes_per_day is not None:
                return own.voice_minutes_per_day * MINUTE_SECONDS
            case "documents" if own.documents_per_day is not None:
                return own.documents_per_day
        return self._limits.of_day(quota)


def network_of(address: str) -> str:
    """What of an IP address is counted: an IPv4 address, or an IPv6 address's network; "unknown" for anything else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def _spent(quota: Quota, limit: int, now: datetime) -> QuotaExceeded:
    seconds = DAY_SECONDS - (now.hour * 3600 + now.minute * 60 + now.second)
    match quota:
        case "tokens":
            spent = f"Your {limit:,} tokens of today are used up"
        case "voice_seconds":
            spent = f"Your {limit // MINUTE_SECONDS:,} minutes of calls of today are used up"
        case "documents":
            spent = f"You have added {limit:,} documents today, which is all that a day allows"
    return QuotaExceeded(f"{spent}; the next day begins at midnight UTC.", retry_after=seconds)
