"""Writes down which AWS calls the deployed functions make, and what each of them needs of a role.

Functions are told apart by their access keys, as on AWS, where every role's credentials have one of their own. It is
also in what a function signs for others: the links and forms with which browsers read and write objects.
"""

import hashlib

VARIABLE = "PARLEY_RECORD_CALLS"
"""Names the file; without it nothing is recorded."""


MARK = "ASIAPARLEY"
"""With what the functions' access keys begin, and nobody else's: the CDK CLI assumes roles too."""


def access_key(function: str) -> str:
    """The access key id of a deployed function's credentials."""
    return MARK + hashlib.sha256(function.encode()).hexdigest()[:10].upper()
