"""Permissions on the items of a table, which may belong to another stack."""

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam

_READS = {"BatchGetItem", "ConditionCheckItem", "GetItem", "Query", "Scan"}


def grant_items(table: dynamodb.ITable, grantee: iam.IGrantable, *operations: str) -> None:
    """Let `grantee` use these operations on the table's items, and the table's key as far as that needs it.

    CDK's own `grant_read_data` and `grant_write_data` name a dozen operations, and wildcards for the key. DynamoDB
    documents which uses of a key a table as a whole needs, not which each operation does: these are CDK's.
    """
    actions = [f"dynamodb:{operation}" for operation in operations]
    iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=[table.table_arn])
    if table.encryption_key is not None:
        writes = not _READS.issuperset(operations)
        table.encryption_key.grant(
            grantee, "kms:Decrypt", "kms:DescribeKey", *(("kms:Encrypt", "kms:GenerateDataKey") if writes else ())
        )
