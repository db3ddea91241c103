"""What a model's tokens cost.

US dollars per million tokens, on demand, in us-east-1. Amazon's own list is https://aws.amazon.com/bedrock/pricing/;
the figures here were read in November 2026 from third parties that reproduce it, not from that page, so compare them
before an invoice depends on them. Other regions differ by a few percent. Since Claude 4.5 and Nova 2, a geographic
inference profile (`us.`, `eu.`, `jp.`, `apac.`) costs a tenth more than the `global.` one. A model that is not listed
has no price here, and its turns report none.
"""

from datetime import date

import msgspec

PRICES_AS_OF = date(2026, 11, 21)
"""When these figures were read."""


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens; `regional_surcharge` is what a geographic inference profile adds."""

    input: float
    output: float
    regional_surcharge: float = 0.0


PRICES = {
    "amazon.nova-micro-v1:0": Price(0.035, 0.14),
    "amazon.nova-lite-v1:0": Price(0.06, 0.24),
    "amazon.nova-pro-v1:0": Price(0.80, 3.20),
    "amazon.nova-2-lite-v1:0": Price(0.30, 2.50, regional_surcharge=0.10),
    "anthropic.claude-haiku-4-5-20251001-v1:0": Price(1.00, 5.00, regional_surcharge=0.10),
    "anthropic.claude-sonnet-4-5-20250929-v1:0": Price(3.00, 15.00, regional_surcharge=0.10),
}

_REGIONAL_PROFILES = frozenset({"us", "eu", "jp", "au", "apac"})


def cost_usd(model_id: str, input_tokens: int, output_tokens: int) -> float | None:
    """The list price of a call in US dollars, or None when the model is not in the table."""
    prefix, _, rest = model_id.partition(".")
    profiled = prefix == "global" or prefix in _REGIONAL_PROFILES
    price = PRICES.get(rest if profiled else model_id)
    if price is None:
        return None
    surcharge = price.regional_surcharge if prefix in _REGIONAL_PROFILES else 0.0
    per_million = input_tokens * price.input + output_tokens * price.output
    return round(per_million * (1 + surcharge) / 1_000_000, 9)
