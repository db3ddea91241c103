"""What many timings come to."""

from statistics import quantiles


def percentiles(samples: list[float]) -> dict[str, float]:
    """The median and the 99th percentile."""
    cuts = quantiles(samples, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}
