"""Every pair of flag values synthesizes clean under both rule packs, or is refused by the configuration."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from allpairspy import AllPairs

from stacks.config import ConfigurationError, load
from tests.infrastructure.assemblies import ROOT, Synth

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
REGION = {"region": "eu-west-1"}
VALUES: dict[str, list[Any]] = {
    "enableRag": [True, False],
    "vectorStore": ["faiss", "s3vectors", "opensearch"],
    "previousVectorStore": ["none", "faiss", "s3vectors", "opensearch"],
    "enableVoice": [True, False],
    "voiceEngine": ["nova-sonic", "cascade"],
    "enableDax": [False, True],
    "auth": ["cognito", "api-key"],
    "enableWaf": [False, True],
}


def refusal(flags: dict[str, Any]) -> str | None:
    try:
        load({**CONTEXT, "env": "dev", **REGION, **flags})
    except ConfigurationError as error:
        return str(error)
    return None


def allowed(row: list[Any]) -> bool:
    """Whether the configuration accepts the first values of a row, the others at their defaults."""
    return refusal(dict(zip(VALUES, row, strict=False))) is None


PAIRS = [
    {first: one, second: other}
    for first, second in itertools.combinations(VALUES, 2)
    for one, other in itertools.product(VALUES[first], VALUES[second])
]


def _rows() -> list[dict[str, Any]]:
    rows = [dict(zip(VALUES, row, strict=True)) for row in AllPairs(list(VALUES.values()), filter_func=allowed)]
    defaults = {flag: values[0] for flag, values in VALUES.items()}
    # Where a filter forbids combinations, allpairspy can miss a pair.
    for pair in PAIRS:
        if refusal(pair) is None and not any(pair.items() <= row.items() for row in rows):
            rows.append(defaults | pair)
    return rows


ROWS = _rows()


def _id(flags: dict[str, Any]) -> str:
    return "-".join(str(value) for value in flags.values())


def test_rows_hold_every_pair_that_the_configuration_accepts() -> None:
    missing = [pair for pair in PAIRS if refusal(pair) is None and not any(pair.items() <= row.items() for row in ROWS)]

    assert missing == []


def test_the_pairs_that_are_refused_are_a_store_as_its_own_forerunner_and_the_cache_without_its_table() -> None:
    refused = {json.dumps(pair): sentence for pair in PAIRS if (sentence := refusal(pair)) is not None}
    cache = refused.pop('{"enableRag": false, "enableDax": true}')

    assert cache.startswith("enableDax is true while enableRag is false")
    default = load({**CONTEXT, "env": "dev"}).vector_store
    for pair, sentence in refused.items():
        flags = {"vectorStore": default, **json.loads(pair)}
        assert flags["vectorStore"] == flags["previousVectorStore"]
        assert sentence.startswith(f'previousVectorStore is "{flags["vectorStore"]}" like vectorStore')
    # With every store as the one to be moved to, so that no pair is left out because of the default.
    assert {"vectorStore", "previousVectorStore"} <= {flag for pair in refused for flag in json.loads(pair)}


@pytest.mark.parametrize("flags", ROWS, ids=_id)
def test_row_synthesizes_with_what_its_flags_ask_for_and_nothing_more(synth: Synth, flags: dict[str, Any]) -> None:
    assembly = synth("dev", **REGION, **flags)

    assert [finding for finding in assembly.findings if finding["severity"] != "warning"] == []
    assert set(assembly.templates) == {"Parley-Account"} | {f"Parley-dev-{part}" for part in _parts(flags)}
    types = {resource["Type"] for _, resource in assembly.resources()}
    stores = {"s3vectors": "AWS::S3Vectors::Index", "opensearch": "AWS::OpenSearchServerless::Index"}
    for store, resource_type in stores.items():
        deployed = (flags["vectorStore"], flags["previousVectorStore"])
        assert (resource_type in types) == (flags["enableRag"] and store in deployed)
    assert ("AWS::DAX::Cluster" in types) == flags["enableDax"]
    assert ("AWS::WAFv2::WebACL" in types) == flags["enableWaf"]
    assert ("AWS::Cognito::UserPool" in types) == (flags["auth"] == "cognito")
    routes = {route["Properties"]["RouteKey"] for _, route in assembly.resources("AWS::ApiGatewayV2::Route")}
    assert ("audio" in routes) == flags["enableVoice"]
    granted = json.dumps([policy for _, policy in assembly.resources("AWS::IAM::Policy", part="Assistant")])
    cascade = flags["enableVoice"] and flags["voiceEngine"] == "cascade"
    assert ("polly:SynthesizeSpeech" in granted) == cascade
    assert ("bedrock:InvokeModelWithBidirectionalStream" in granted) == (flags["enableVoice"] and not cascade)
    assert ("POST /rag/query" in routes) == flags["enableRag"]


def _parts(flags: dict[str, Any]) -> Iterator[str]:
    yield from ("Data", "Assistant", "Monitoring", "Web")
    if flags["enableRag"]:
        yield "Knowledge"
    if flags["enableDax"]:
        yield "Network"
    if flags["enableWaf"]:
        yield "Edge"
        # CloudFront's access log is kept in us-east-1, after the distribution that is elsewhere.
        yield "EdgeLog"
