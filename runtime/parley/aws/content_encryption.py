"""Message content under the customer-managed key: envelope encryption, with the data keys cached.

Each ciphertext is bound to its subject and conversation through the encryption context: moved to another user's
record it does not decrypt.
"""

import io
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from parley.errors import ParleyError, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

CACHE_CAPACITY = 1000
"""Data keys in memory at most: one for each conversation that this process writes, and each it reads."""

CACHE_SECONDS = 300.0
"""How long a data key may be reused: the time that a revoked grant on the key can go unnoticed."""

MESSAGES_PER_KEY = 1000
"""Messages encrypted under one data key at most."""


class ContentUnreadable(ParleyError):
    """Stored content does not decrypt: it was altered, moved, or written under another key."""

    default_message = "A stored message cannot be read."


class ContentCipher:
    """Encrypts and decrypts the content of one store under the KMS key `key_arn`."""

    def __init__(self, key_arn: str, client: "KMSClient") -> None:
        # Imported with the first cipher rather than with the module: it is the second-slowest import of a cold start.
        import aws_encryption_sdk as sdk
        from aws_encryption_sdk.key_providers.kms import KMSMasterKey

        self._sdk = sdk
        self._client = sdk.EncryptionSDKClient(
            commitment_policy=sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=1
        )
        self._materials = sdk.CachingCryptoMaterialsManager(
            # The key itself rather than a provider of keys: a provider makes clients of its own, with other timeouts.
            master_key_provider=KMSMasterKey(key_id=key_arn, client=client),
            cache=sdk.LocalCryptoMaterialsCache(CACHE_CAPACITY),
            max_age=CACHE_SECONDS,
            max_messages_encrypted=MESSAGES_PER_KEY,
        )

    def encrypt(self, content: bytes, context: dict[str, str]) -> bytes:
        """The ciphertext of `content`, bound to `context`. Raises StoreUnavailable when KMS does not answer."""
        # Whoever can write here can read here, so a signature would prove nothing and cost a millisecond.
        algorithm = self._sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
        try:
            ciphertext, _ = self._client.encrypt(
                source=content,
                source_length=len(content),
                encryption_context=context,
                materials_manager=self._materials,
                algorithm=algorithm,
            )
        except (self._sdk.exceptions.AWSEncryptionSDKClientError, BotoCoreError) as error:
            raise StoreUnavailable from error
        return bytes(ciphertext)

    def decrypt(self, ciphertext: bytes, context: dict[str, str]) -> bytes:
        """The content behind `ciphertext`.

        Raises ContentUnreadable when it is not a ciphertext of this key and context, and StoreUnavailable when KMS
        does not answer.
        """
        try:
            content, bound_to = self._read(ciphertext)
        except (self._sdk.exceptions.DecryptKeyError, BotoCoreError) as error:
            # KMS did not open the data key, and the SDK does not say why: throttled, unreachable or not permitted.
            raise StoreUnavailable from error
        except Exception as error:
            # Damaged bytes surface as whatever the parser met: struct, unicode, signature and format errors alike.
            raise ContentUnreadable from error
        if not context.items() <= bound_to.items():
            raise ContentUnreadable
        return content

    def _read(self, ciphertext: bytes) -> tuple[bytes, dict[str, str]]:
        reader = self._client.stream(mode="decrypt", source=ciphertext, materials_manager=self._materials)
        try:
            content = bytes(reader.read())
            reader.close()
            return content, reader.header.encryption_context
        finally:
            # The SDK's own `close` complains about a message that was not read to its end, and does so again from the
            # finalizer, into whatever runs then. After a failure only the plain stream is closed.
            io.IOBase.close(reader)
