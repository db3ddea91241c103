"""Permissions on the objects under a prefix of a bucket, which may belong to another stack."""

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from parley_constructs.wildcards import acknowledge_wildcard

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject",)
_IN_PARTS = ("s3:AbortMultipartUpload",)
_DELETE = ("s3:DeleteObject",)
_DELETE_VERSIONS = ("s3:DeleteObjectVersion",)


def grant_objects(
    bucket: s3.IBucket,
    grantee: iam.IGrantable,
    *,
    prefix: str,
    read: bool = False,
    write: bool = False,
    in_parts: bool = False,
    delete: bool = False,
    delete_versions: bool = False,
) -> None:
    """Let `grantee` use the objects whose keys begin with `prefix`, and the bucket's key as far as that needs it.

    CDK's own `grant_read` and `grant_read_write` say `s3:GetObject*` and `s3:List*` on the bucket; this names each
    action. Reading includes listing, because without it a missing object answers 403 and not 404. Writing in parts is
    giving such an upload up. Deleting versions is for good, and includes listing them. A role's policy that names a
    prefix must hold a wildcard: the finding is acknowledged here, on the policy, for that prefix only.
    """
    granted = {_READ: read, _WRITE: write, _IN_PARTS: in_parts, _DELETE: delete, _DELETE_VERSIONS: delete_versions}
    actions = [action for group, wanted in granted.items() if wanted for action in group]
    objects = bucket.arn_for_objects(f"{prefix}*")
    iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=[objects])
    if read:
        iam.Grant.add_to_principal(grantee=grantee, actions=["s3:ListBucket"], resource_arns=[bucket.bucket_arn])
    if delete_versions:
        iam.Grant.add_to_principal(
            grantee=grantee, actions=["s3:ListBucketVersions"], resource_arns=[bucket.bucket_arn]
        )
    if bucket.encryption_key is not None and (read or write):
        bucket.encryption_key.grant(grantee, "kms:Decrypt", *(("kms:GenerateDataKey",) if write else ()))
    acknowledge_wildcard(grantee, objects, f"Objects under {prefix} and no others; their keys are not known before.")
