"""What functions call, held against what their roles allow, in both directions."""

import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from operations.environment import OperationError
from operations.privileges.policies import Call, Statement, action_matches, allows, resource_matches
from operations.privileges.templates import Function, Templates

UNNAMEABLE = {
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html: no resource types.
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
    # .../list_amazontranscribe.html: no resource types; a job has no ARN before it is started.
    "transcribe:StartStreamTranscription",
    "transcribe:StartTranscriptionJob",
    # .../list_amazonpolly.html: the one resource type is a lexicon, and speech is made without one.
    "polly:StartSpeechSynthesisStream",
    "polly:SynthesizeSpeech",
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions: Lambda makes
    # the network interfaces of a function, and checks for these rights on every resource before it takes the function.
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
"""The actions that may stand beside `*`, from AWS's service authorization reference of November 2026."""

ACCEPTED = Path(__file__).with_name("accepted.toml")
"""The reviewed reasons for rights that no test uses, and for calls that an environment's functions do not make."""


@dataclass(frozen=True, order=True)
class Finding:
    """A right of a function that is missing, or that nothing uses."""

    function: str
    action: str
    resource: str
    condition: tuple[tuple[str, str], ...] = ()

    def statement(self) -> dict[str, Any]:
        """It as a policy's statement, in the templates' names."""
        statement: dict[str, Any] = {"Effect": "Allow", "Action": self.action, "Resource": self.resource}
        if self.condition:
            statement["Condition"] = {"StringEquals": dict(self.condition)}
        return statement


@dataclass(frozen=True)
class Reason:
    """A reviewed reason: what it covers, by names with `*`, and why."""

    functions: Sequence[str]
    actions: Sequence[str]
    resources: Sequence[str]
    environments: Sequence[str]
    reason: str
    by_chance: bool = False
    """Does it depend on the run whether anything needs it?"""

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of this finding."""
        return all(
            any(fnmatchcase(value, pattern) for pattern in patterns)
            for value, patterns in (
                (finding.function, self.functions),
                (finding.action, self.actions),
                (finding.resource, self.resources),
            )
        )


@dataclass(frozen=True)
class Accepted:
    """The reviewed file."""

    unused: Sequence[Reason]
    elsewhere: Sequence[Reason]

    @classmethod
    def read(cls, file: Path = ACCEPTED) -> "Accepted":
        """Raises OperationError when an entry is not as the file's head says."""
        content = tomllib.loads(file.read_text())
        if unknown := content.keys() - {"unused", "elsewhere"}:
            raise OperationError(f"{file.name} has [[{min(unknown)}]]; it knows [[unused]] and [[elsewhere]].")
        return cls(*([_reason(entry, file) for entry in content.get(kind, [])] for kind in ("unused", "elsewhere")))


@dataclass(frozen=True)
class Proof:
    """What is wrong with an environment's roles; all empty when nothing is."""

    missing: list[Finding] = field(default_factory=list)
    """Calls that a role denies."""
    unused: list[Finding] = field(default_factory=list)
    """Rights that nothing used and nobody gave a reason for."""
    undriven: list[str] = field(default_factory=list)
    """Functions that no test drives, although they were there to be driven."""


def prove(
    templates: Templates,
    calls: Mapping[str, set[Call]],
    *,
    deployed: Container[str],
    accepted: Callable[[str, Finding], bool],
) -> Proof:
    """Hold `calls`, by function, against the roles of an environment's functions.

    `deployed` are the functions whose calls could be seen.
    `accepted("unused" or "elsewhere", finding)` tells whether a reviewed reason covers a finding.
    """
    proof = Proof()
    for function in templates.functions:
        own = calls.get(function.name, set())
        if not own and function.name in deployed:
            proof.undriven.append(function.module)
        released = (replace(call, resource=templates.aliases.get(call.resource, call.resource)) for call in own)
        made = set(_with_keys([*released, *function.called_by_lambda], templates.keys, templates.region))
        for call in sorted(made, key=lambda call: (call.action, call.resource)):
            finding = Finding(function.module, call.action, call.resource, call.context)
            if not allows(function.statements, call) and not accepted("elsewhere", finding):
                proof.missing.append(finding)
        for finding in sorted(set(_unused(function, made))):
            if not accepted("unused", finding):
                proof.unused.append(finding)
    return proof


def _unused(function: Function, made: set[Call]) -> Iterator[Finding]:
    for statement in function.statements:
        if statement.effect == "Deny":
            continue
        relevant = [call for call in made if statement.admits(call.context)]
        for action in statement.actions:
            for resource in statement.resources:
                if not any(_covers(action, resource, call) for call in relevant):
                    condition = tuple((key, " or ".join(values)) for key, values in statement.conditions)
                    yield Finding(function.module, action, resource, condition)


def _covers(action: str, resource: str, call: Call) -> bool:
    return action_matches(action, call.action) and resource_matches(resource, call.resource)


# What a service does with a customer-managed key for its caller, with the caller's right to the key.
_KEY_USE = {
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    "s3:GetObject": ("kms:Decrypt",),
    "s3:GetObjectVersion": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "sqs:SendMessage": ("kms:Decrypt", "kms:GenerateDataKey"),
    # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    "secretsmanager:GetSecretValue": ("kms:Decrypt",),
}
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html: whoever reads or writes
# an item has the table's own key decrypted.
_TABLE_USE = ("kms:Decrypt",)
_ABOUT_TABLES = {"dynamodb:DescribeStream", "dynamodb:DescribeTable", "dynamodb:ListStreams"}


def _with_keys(calls: Iterable[Call], keys: Mapping[str, str], region: str) -> Iterator[Call]:
    """The calls, and those that services make of KMS on the caller's behalf for resources with a key."""
    for call in calls:
        yield call
        service = call.action.partition(":")[0]
        uses = _KEY_USE.get(call.action, ())
        if service == "dynamodb" and call.action not in _ABOUT_TABLES:
            uses = _TABLE_USE
        if uses and (key := keys.get(_encrypted(service, call.resource))):
            via = (("kms:ViaService", f"{service}.{region}.amazonaws.com"),)
            yield from (Call(use, key, via) for use in uses)


def _encrypted(service: str, resource: str) -> str:
    """The table or bucket that a stream, an index or an object belongs to."""
    if service == "s3":
        return resource.partition("/")[0]
    return "/".join(resource.split("/")[:2]) if service == "dynamodb" else resource


def _reason(entry: Mapping[str, Any], file: Path) -> Reason:
    expected = {"functions", "actions", "resources", "environments", "reason", "by_chance"}
    if unknown := entry.keys() - expected:
        raise OperationError(f"An entry of {file.name} has {min(unknown)}: it may have {', '.join(sorted(expected))}.")
    if len(entry.get("reason", "").split()) < 5:
        raise OperationError(f"An entry of {file.name} gives no reason that a reviewer could judge: {dict(entry)}.")
    return Reason(
        functions=entry["functions"],
        actions=entry["actions"],
        resources=entry.get("resources", ["*"]),
        environments=entry.get("environments", ["*"]),
        reason=entry["reason"],
        by_chance=entry.get("by_chance", False),
    )


class Reasons:
    """The reviewed file while it is used: it knows which of its entries nothing needed."""

    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._needed: set[int] = set()

    def of(self, environment: str) -> Callable[[str, Finding], bool]:
        """For `prove`: whether a reason of this environment covers a finding."""

        def covers(kind: str, finding: Finding) -> bool:
            entries = self._accepted.unused if kind == "unused" else self._accepted.elsewhere
            found = [
                entry
                for entry in entries
                if entry.covers(finding) and any(fnmatchcase(environment, pattern) for pattern in entry.environments)
            ]
            self._needed.update(map(id, found))
            return bool(found)

        return covers

    @property
    def stale(self) -> list[Reason]:
        """The entries that covered nothing, although that is no matter of chance."""
        every = [*self._accepted.unused, *self._accepted.elsewhere]
        return [entry for entry in every if id(entry) not in self._needed and not entry.by_chance]


def open_resources(policies: Iterable[tuple[str, Sequence[Statement]]]) -> Iterator[tuple[str, str]]:
    """The (policy, action) that are allowed on `*`, although their service could name a resource."""
    for policy, statements in policies:
        for statement in statements:
            if "*" in statement.resources:
                yield from ((policy, action) for action in statement.actions if action not in UNNAMEABLE)
