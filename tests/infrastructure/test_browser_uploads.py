"""What lets a browser post a file to the documents and audio buckets, in each environment."""

import pytest

from tests.infrastructure.assemblies import Assembly, Synth


@pytest.mark.parametrize(
    ("env", "flags", "origins"),
    [
        ("local", {}, ["http://127.0.0.1:*", "http://localhost:*"]),
        ("dev", {}, ["https://*.cloudfront.net"]),
        ("staging", {"domain": "talk.example.com"}, ["https://talk.example.com"]),
        ("dev", {"enableWeb": False}, None),
    ],
)
def test_only_the_products_own_pages_may_post(
    synth: Synth, env: str, flags: dict[str, object], origins: list[str] | None
) -> None:
    rules = {name: bucket["Properties"].get("CorsConfiguration") for name, bucket in _buckets(synth(env, **flags))}
    uploads = [name for name in rules if "StorageDocuments" in name or "StorageAudio" in name]
    wanted = (
        {"CorsRules": [{"AllowedMethods": ["POST"], "AllowedOrigins": origins, "MaxAge": 3600}]} if origins else None
    )
    assert [rules.pop(name) for name in uploads] == [wanted, wanted]
    assert set(rules.values()) == {None}


def test_the_page_may_call_the_bucket_under_both_its_names(synth: Synth) -> None:
    [(_, headers)] = synth("prod").resources("AWS::CloudFront::ResponseHeadersPolicy", part="Web")
    policy = headers["Properties"]["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]["ContentSecurityPolicy"]
    sources = str(policy["ContentSecurityPolicy"]).partition("connect-src")[2].partition(";")[0]
    assert sources.count("StorageDocuments") == 2
    assert "RegionalDomainName" in sources


def _buckets(assembly: Assembly) -> list[tuple[str, dict[str, dict[str, object]]]]:
    return list(assembly.resources("AWS::S3::Bucket", part="Data"))
