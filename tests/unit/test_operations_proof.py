"""What is left of an environment is found, and what could not be looked for is not proved."""

from operations import proof, teardown
from operations.command import Check, Mark
from operations.deployed import Resource
from operations.kinds import Search
from tests.unit.aws_double import Account, place, refusal
from tests.unit.cloudformation_double import KEY, REGION, aws, cloudformation

__all__ = ["aws", "cloudformation"]


def marks(checks: list[Check]) -> dict[str, Mark]:
    return {check.what: check.mark for check in checks}


def test_a_key_that_lives_is_found(aws: Account) -> None:
    here = place(region=REGION)
    key = here.client("kms").create_key()["KeyMetadata"]["KeyId"]
    things = [Resource("Parley-dev-Data", REGION, "Key", KEY, key)]

    checks = proof.prove(here, Search({}, set()), things, [REGION], patience=0)
    assert marks(checks)["keys"] is Mark.FAILED

    teardown.retire_keys(here, things, lambda _: None)
    assert marks(proof.prove(here, Search({}, set()), things, [REGION], patience=0))["keys"] is Mark.OK


def test_what_may_not_be_listed_is_not_proved(aws: Account) -> None:
    aws.answers["ListTables"] = "AccessDeniedException"

    checks = proof.prove(place(region=REGION), Search({}, set()), [], [REGION], patience=0)

    assert marks(checks)["tables"] is Mark.FAILED
    assert marks(checks)["buckets"] is Mark.OK


def test_what_the_sandbox_has_not_is_said_plainly(aws: Account) -> None:
    aws.answers["ListVectorBuckets"] = refusal("", "ListVectorBuckets")

    checks = proof.prove(place("local", REGION), Search({}, set()), [], [REGION], patience=0)

    assert marks(checks)["vector buckets"] is Mark.SKIPPED
    # On AWS the same answer proves nothing, and fails.
    assert marks(proof.prove(place(), Search({}, set()), [], [REGION], patience=0))["vector buckets"] is Mark.FAILED


def test_other_kinds_are_found_by_their_tags(aws: Account) -> None:
    topic, table = f"arn:aws:sns:{REGION}:1:alarms", f"arn:aws:dynamodb:{REGION}:1:table/looked-for-itself"
    aws.answers["GetResources"] = {"ResourceTagMappingList": [{"ResourceARN": topic}, {"ResourceARN": table}]}

    checks = proof.prove(place(region=REGION), Search({}, set()), [], [REGION], patience=0)

    [found] = [check for check in checks if check.what == "anything else with its tags"]
    assert found.mark is Mark.WARNING
    assert topic in found.said
    assert table not in found.said
