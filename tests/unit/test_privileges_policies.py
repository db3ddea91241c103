"""IAM's evaluation, against the examples and rules that AWS documents for the forms that the templates contain."""

from typing import Any

import pytest

from operations.privileges.policies import (
    Call,
    UnsupportedForm,
    action_matches,
    allows,
    read_statements,
    resource_matches,
)

_VIA = "kms:ViaService"


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(action: Any = "s3:GetObject", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def _is_allowed(call: Call, *statements: dict[str, Any]) -> bool:
    return allows(read_statements(_policy(*statements)), call)


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html


@pytest.mark.parametrize(
    "action", ["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:ListAccessKeys", "iam:UpdateAccessKey"]
)
def test_a_wildcard_in_an_action_stands_for_any_text(action: str) -> None:
    assert action_matches("iam:*AccessKey*", action)
    assert not action_matches("iam:*AccessKey*", "iam:CreateUser")
    assert not action_matches("iam:*AccessKey*", "s3:GetAccessKeys")


def test_case_does_not_matter_in_actions() -> None:
    assert action_matches("iam:ListAccessKeys", "IAM:listaccesskeys")


def test_an_action_without_wildcards_is_that_action_alone() -> None:
    assert action_matches("s3:GetObject", "s3:GetObject")
    assert not action_matches("s3:GetObject", "s3:GetObjectVersion")
    assert action_matches("s3:GetObject*", "s3:GetObjectVersion")


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html

_OBJECTS = "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"


@pytest.mark.parametrize(
    "key", ["1/test/object.jpg", "1/2/test/object.jpg", "1/2/test/3/object.jpg", "1/2/3/test/4/object.jpg"]
)
def test_a_wildcard_in_a_resource_crosses_slashes(key: str) -> None:
    assert resource_matches(_OBJECTS, f"arn:aws:s3:::amzn-s3-demo-bucket/{key}")


@pytest.mark.parametrize("key", ["1-test/object.jpg", "test/object.jpg", "1/2/test.jpg"])
def test_a_wildcard_in_a_resource_stands_for_nothing_else(key: str) -> None:
    assert not resource_matches(_OBJECTS, f"arn:aws:s3:::amzn-s3-demo-bucket/{key}")


def test_a_question_mark_is_one_character() -> None:
    assert resource_matches("arn:aws:s3:::bucket/day-?.txt", "arn:aws:s3:::bucket/day-1.txt")
    assert not resource_matches("arn:aws:s3:::bucket/day-?.txt", "arn:aws:s3:::bucket/day-10.txt")


def test_a_wildcard_stays_between_its_colons() -> None:
    queue = "arn:aws:sqs:us-east-2:111122223333:queue1"

    assert resource_matches("arn:aws:sqs:*:111122223333:queue1", queue)
    assert not resource_matches("arn:aws:sqs:*:queue1", queue)
    assert not resource_matches("arn:aws:s*:::queue1", queue)


def test_the_last_part_of_an_arn_may_hold_colons() -> None:
    stream = "arn:aws:logs:us-east-1:111122223333:log-group:mine:log-stream:x"

    assert resource_matches("arn:aws:logs:us-east-1:111122223333:log-group:mine:*", stream)
    assert not resource_matches("arn:aws:logs:us-east-1:111122223333:log-group:mine", stream)


def test_case_matters_in_resources() -> None:
    assert not resource_matches("arn:aws:s3:::Bucket", "arn:aws:s3:::bucket")


def test_a_star_is_every_resource() -> None:
    assert resource_matches("*", "arn:aws:sqs:us-east-2:111122223333:queue1")


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html


def test_what_nothing_allows_is_denied() -> None:
    call = Call("s3:GetObject", "arn:aws:s3:::bucket/key")

    assert not _is_allowed(call)
    assert not _is_allowed(call, _allow("s3:PutObject"))
    assert not _is_allowed(call, _allow("s3:GetObject", "arn:aws:s3:::other/*"))


def test_an_explicit_allow_overrides_the_default() -> None:
    assert _is_allowed(Call("s3:GetObject", "arn:aws:s3:::bucket/key"), _allow(["s3:PutObject", "s3:GetObject"]))


def test_an_explicit_deny_overrides_any_allow() -> None:
    denied = {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket/secret/*"}

    for statements in ((_allow(), denied), (denied, _allow())):
        assert not _is_allowed(Call("s3:GetObject", "arn:aws:s3:::bucket/secret/key"), *statements)
        assert _is_allowed(Call("s3:GetObject", "arn:aws:s3:::bucket/open/key"), *statements)


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html


def _decrypt(**context: str) -> Call:
    names = {"via": _VIA, "bucket": "transcribe:OutputBucketName"}
    return Call("kms:Decrypt", "*", tuple((names[name], value) for name, value in context.items()))


def _when(**conditions: Any) -> dict[str, Any]:
    names = {"via": _VIA, "bucket": "transcribe:OutputBucketName"}
    return _allow("kms:Decrypt", Condition={"StringEquals": {names[name]: one for name, one in conditions.items()}})


def test_string_equals_is_exact_and_minds_case() -> None:
    assert _is_allowed(_decrypt(via="s3.amazonaws.com"), _when(via="s3.amazonaws.com"))
    assert not _is_allowed(_decrypt(via="S3.amazonaws.com"), _when(via="s3.amazonaws.com"))
    assert not _is_allowed(_decrypt(via="s3.amazonaws.com"), _when(via="s3.*"))


def test_a_condition_on_a_key_that_the_request_lacks_is_false() -> None:
    assert not _is_allowed(_decrypt(), _when(via="s3.amazonaws.com"))


def test_one_of_several_values_is_enough() -> None:
    either = _when(via=["s3.amazonaws.com", "sqs.amazonaws.com"])

    assert _is_allowed(_decrypt(via="sqs.amazonaws.com"), either)
    assert not _is_allowed(_decrypt(via="dynamodb.amazonaws.com"), either)


def test_every_one_of_several_keys_must_match() -> None:
    both = _when(via="s3.amazonaws.com", bucket="mine")

    assert _is_allowed(_decrypt(via="s3.amazonaws.com", bucket="mine"), both)
    assert not _is_allowed(_decrypt(via="s3.amazonaws.com", bucket="another"), both)
    assert not _is_allowed(_decrypt(via="s3.amazonaws.com"), both)


# Anything else is refused.


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, "NotAction"),
        ({"Effect": "Allow", "Action": "s3:*", "NotResource": "*"}, "NotResource"),
        (_allow(Principal="*"), "Principal"),
        (_allow() | {"Effect": "allow"}, "Allow or Deny"),
        (_allow(Condition={"StringLike": {_VIA: "s3.*"}}), "StringLike"),
        (_allow(Condition={"ForAllValues:StringEquals": {_VIA: "s3"}}), "ForAllValues:StringEquals"),
        (_allow(Condition={"StringEquals": {"aws:PrincipalTag/team": "x"}}), "aws:PrincipalTag/team"),
        (_allow(Condition={"StringEquals": {_VIA: "${aws:username}"}}), "Policy variables"),
        (_allow(resource="arn:aws:s3:::bucket/${aws:username}/*"), "Policy variables"),
        (_allow(resource="bucket"), "six parts"),
        (_allow(resource={"Ref": "Bucket"}), "Expected text"),
    ],
)
def test_a_form_that_is_not_evaluated_is_refused(statement: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedForm, match=named):
        read_statements(_policy(statement))
