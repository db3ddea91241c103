"""The least that any answer costs: one client, one `Converse` call. Prints `time.monotonic()` at the answer."""

import time

import boto3

boto3.client("bedrock-runtime").converse(
    modelId="us.amazon.nova-2-lite-v1:0", messages=[{"role": "user", "content": [{"text": "What is a turn?"}]}]
)
print(time.monotonic())
