"""Settings come from the environment, and one that is missing or malformed is named."""

import pytest
from parley.settings import Settings, SettingsError


class Example(Settings, frozen=True, kw_only=True):
    table: str
    days: int
    models: dict[str, list[str]]
    function: str | None = None


def test_settings_come_from_the_environment() -> None:
    example = Example.load({"TABLE": "t", "DAYS": "3", "MODELS": '{"quick": ["a"]}', "FUNCTION": "", "OTHER": "x"})
    assert example == Example(table="t", days=3, models={"quick": ["a"]}, function=None)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"DAYS": "3", "MODELS": "{}"}, "TABLE"),
        ({"TABLE": "t", "DAYS": "x", "MODELS": "{}"}, "DAYS"),
        ({"TABLE": "t", "DAYS": "3", "MODELS": "{"}, "MODELS"),
        ({"TABLE": "t", "DAYS": "3", "MODELS": '{"quick": 1}'}, "MODELS"),
    ],
)
def test_a_setting_that_is_missing_or_malformed_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Example.load(environment)
