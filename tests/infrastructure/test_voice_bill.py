"""The bill of a minute of voice follows what is deployed."""

import json

from parley_constructs.voice_api.access_logs import WEBSOCKET_FIELDS

from benchmarks import voice_cost
from stacks.sizes import Sizes

FRAME = {
    "requestId": "KpGsyHgUIAMEVFw=",
    "routeKey": "audio",
    "status": "200",
    "integrationLatency": "12",
    "connectionId": "KpGr8cYtoAMCIYA=",
}
"""What stands in the line of an audio frame; what has no value is logged as `-`."""
CLOUDWATCH_BYTES = 26


def test_a_line_of_the_access_log_is_as_long_as_the_bill_says() -> None:
    line = json.dumps({name: FRAME.get(name, "-") for name in WEBSOCKET_FIELDS}, separators=(",", ":"))
    assert set(FRAME) <= set(WEBSOCKET_FIELDS)
    assert len(line) + CLOUDWATCH_BYTES == voice_cost.ACCESS_LOG_BYTES


def test_the_transport_of_a_minute_costs_what_was_promised_at_most() -> None:
    bill = voice_cost.lines(memory_mb=Sizes().voice_memory_mb)
    assert sum(line.usd for line in bill) <= voice_cost.LIMIT_USD
