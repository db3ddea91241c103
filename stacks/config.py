"""The whole configuration, read once from the CDK context into one frozen object.

cdk.json's context holds `environments`; `-c env=dev` picks one (default `dev`). A flag's value is, first found: the
command line's `-c flag=value`, the environment's, the blueprint's, the default of `Configuration`. `models` and `sizes`
are merged over these layers key by key. docs/configuration.md has the table of flags.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

from parley_constructs.models import retired_on

from stacks.flags import (
    ConfigurationError,
    Parser,
    Rejected,
    boolean,
    choice,
    choices,
    given,
    integer,
    json_object,
    optional,
    parse,
    refuse_unknown,
    text,
    texts,
)
from stacks.sizes import Sizes, sizes
from stacks.speech import ENGINE_LANGUAGES, Polly, Transcribe, polly, problems, transcribe

__all__ = ["Configuration", "ConfigurationError", "Models", "Sizes", "load"]

DEFAULT_ENVIRONMENT = "dev"
LOCAL = "local"
"""The environment that the sandbox deploys."""

VECTOR_STORES = ("faiss", "s3vectors", "opensearch")


@dataclass(frozen=True, kw_only=True)
class Models:
    """Bedrock model or inference profile ids by role. Where there are several, the next is the first one's fallback."""

    # `global.` profiles exist in every commercial region that has the model, so the defaults suit any of them.
    quick: tuple[str, ...] = ("global.amazon.nova-2-lite-v1:0", "global.anthropic.claude-haiku-4-5-20251001-v1:0")
    reasoning: tuple[str, ...] = (
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    )
    summary: tuple[str, ...] = ("global.amazon.nova-2-lite-v1:0", "global.anthropic.claude-haiku-4-5-20251001-v1:0")
    embedding: str = "amazon.titan-embed-text-v2:0"
    voice: str = "amazon.nova-2-sonic-v1:0"

    @property
    def conversation_roles(self) -> dict[str, list[str]]:
        """The roles that a text turn chooses from."""
        return {"quick": list(self.quick), "reasoning": list(self.reasoning), "summary": list(self.summary)}

    @property
    def conversation_ids(self) -> tuple[str, ...]:
        """Every model that a text turn may call, once."""
        return tuple(dict.fromkeys((*self.quick, *self.reasoning, *self.summary)))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Every (role, model id)."""
        for role in fields(self):
            value = getattr(self, role.name)
            for model_id in (value,) if isinstance(value, str) else value:
                yield role.name, model_id


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What one environment is made of. Flags are documented in docs/configuration.md under their camelCase names."""

    environment: str
    account: str | None = None
    region: str | None = None
    blueprint: str = "voice-chatbot"
    enable_rag: bool = True
    vector_store: str = "s3vectors"
    previous_vector_store: str | None = None
    enable_voice: bool = True
    voice_engine: tuple[str, ...] = ("nova-sonic",)
    """The first one serves calls that name none."""
    languages: tuple[str, ...] = ("en-US",)
    transcribe: Transcribe = field(default_factory=Transcribe)
    polly: Polly = field(default_factory=Polly)
    enable_dax: bool = False
    enable_audio_archive: bool = False
    auth: str = "cognito"
    enable_password_sign_in: bool = False
    enable_web: bool = True
    enable_waf: bool = False
    domain: str | None = None
    hosted_zone_id: str | None = None
    guardrail: str | dict[str, str] | None = None
    compliance: str | None = None
    retention_days: int = 90
    monthly_budget_usd: int | None = None
    budget_scope: str = "account"
    alarm_email: str | None = None
    runbooks_url: str | None = None
    enable_alarms: bool = True
    enable_dashboard: bool = True
    enable_log_queries: bool = True
    enable_canary: bool = False
    github_repository: str | None = None
    protect_data: bool = False
    empty_buckets: bool = True
    build_for: str = "lambda"
    cost_centre: str = "parley"
    models: Models = field(default_factory=Models)
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def runbooks(self) -> str:
        """Where the pages about alarms are read."""
        return self.runbooks_url or "docs/runbooks"

    @property
    def needs_edge(self) -> bool:
        """Whether something must live in us-east-1, where CloudFront looks for it."""
        return self.enable_waf or self.domain is not None


_MODEL_ID = r"[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)*"
_ONE_MODEL = text(_MODEL_ID, 'a Bedrock model or inference profile id such as "amazon.nova-2-sonic-v1:0"')
_SOME_MODELS = texts(
    _MODEL_ID, 'a list of Bedrock model or inference profile ids such as ["us.amazon.nova-2-lite-v1:0"]'
)


def _models(value: Any) -> dict[str, Any]:
    given_models = json_object(value)
    roles = {role.name: _ONE_MODEL if isinstance(role.default, str) else _SOME_MODELS for role in fields(Models)}
    refuse_unknown("model role", given_models, roles)
    return {role: parse(f"models.{role}", roles[role], ids) for role, ids in given_models.items()}


def _guardrail(value: Any) -> str | dict[str, str]:
    if value == "default":
        return "default"
    allowed = '"default", or an existing one such as {"id": "gr1abc2def3", "version": "1"}'
    try:
        given_guardrail = json_object(value)
    except Rejected:
        raise Rejected(allowed) from None
    if given_guardrail.keys() != {"id", "version"} or not all(
        isinstance(part, str) and re.fullmatch(pattern, part)
        for part, pattern in ((given_guardrail["id"], r"[a-z0-9]+"), (given_guardrail["version"], r"[1-9][0-9]*|DRAFT"))
    ):
        raise Rejected(allowed)
    return given_guardrail


_BLUEPRINTS: dict[str, dict[str, Any]] = {
    "voice-chatbot": {},
    "personal-chatbot": {"enable_voice": False, "enable_rag": False},
}

_FLAGS: dict[str, Parser] = {
    "account": optional(text(r"[0-9]{12}", "an account number of 12 digits")),
    "region": optional(text(r"[a-z]{2}(-[a-z]+)+-[0-9]", 'a region such as "eu-west-1"')),
    "blueprint": choice(*_BLUEPRINTS),
    "enableRag": boolean,
    "vectorStore": choice(*VECTOR_STORES),
    "previousVectorStore": optional(choice(*VECTOR_STORES)),
    "enableVoice": boolean,
    "voiceEngine": choices(*ENGINE_LANGUAGES, refused={"gemini-live": "gemini-live is not built yet"}),
    "languages": texts(r"[a-z]{2,3}-[A-Z]{2}", 'a list of language codes such as ["en-US", "de-DE"]'),
    "transcribe": transcribe,
    "polly": polly,
    "enableDax": boolean,
    "enableAudioArchive": boolean,
    "auth": choice("cognito", "api-key"),
    "enablePasswordSignIn": boolean,
    "enableWeb": boolean,
    "enableWaf": boolean,
    "domain": optional(
        text(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", 'a domain name such as "talk.example.com"')
    ),
    "hostedZoneId": optional(text(r"Z[A-Z0-9]{5,31}", "the id of a Route 53 hosted zone")),
    "guardrail": optional(_guardrail),
    "compliance": optional(choice("hipaa", "nist", "pci")),
    "retentionDays": integer(1, 3_650),
    "monthlyBudgetUsd": optional(integer(1, 10_000_000)),
    "budgetScope": choice("account", "environment"),
    "alarmEmail": optional(text(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")),
    "runbooksUrl": optional(
        text(r"https?://[^\s?#]+", 'an address such as "https://git.example.com/parley/docs/runbooks"')
    ),
    "enableAlarms": boolean,
    "enableDashboard": boolean,
    "enableLogQueries": boolean,
    "enableCanary": boolean,
    "githubRepository": optional(text(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", 'a repository such as "acme/assistant"')),
    "protectData": boolean,
    "emptyBuckets": boolean,
    "buildFor": choice("lambda", "host"),
    "costCentre": text(r"[\w .:/=+@-]{1,256}", "a tag value of up to 256 letters, digits, spaces and . : / = + @ - _"),
    "models": _models,
    "sizes": sizes,
}

# What the sandbox cannot create or has no use for; it serves the page itself.
_LOCAL_LIMITS: dict[str, tuple[Any, ...]] = {
    "vectorStore": ("faiss",),
    "previousVectorStore": (None,),
    "guardrail": (None,),
    "enableDax": (False,),
    "enableWeb": (False,),
    "enableAlarms": (False,),
    "enableLogQueries": (False,),
    "enableCanary": (False,),
    "githubRepository": (None,),
    "emptyBuckets": (False,),
    "monthlyBudgetUsd": (None,),
}


def _field_of(flag: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", flag)


def load(context: Mapping[str, Any], *, today: date | None = None) -> Configuration:
    """The configuration that the app's context asks for.

    `today` decides which models have reached their end of life. Raises ConfigurationError.
    """
    environments = context.get("environments")
    if not isinstance(environments, Mapping) or not environments:
        raise ConfigurationError(
            f"The context of cdk.json needs `environments`, got {given(environments)}; "
            "allowed is an object with an entry per environment."
        )
    refuse_unknown("environment", [str(context.get("env", DEFAULT_ENVIRONMENT))], environments)
    environment = str(context.get("env", DEFAULT_ENVIRONMENT))
    overrides = {key: value for key, value in context.items() if not _is_not_ours(key)}
    refuse_unknown("flag", overrides, _FLAGS)
    try:
        settings = json_object(environments[environment])
    except Rejected as allowed:
        raise ConfigurationError(
            f"Environment {given(environment)} cannot be {given(environments[environment])}; allowed: {allowed}."
        ) from None
    refuse_unknown("flag", settings, _FLAGS)

    layers = [
        {_field_of(flag): parse(flag, _FLAGS[flag], value) for flag, value in layer.items()}
        for layer in (settings, overrides)
    ]
    blueprint = next((layer["blueprint"] for layer in reversed(layers) if "blueprint" in layer), "voice-chatbot")
    values: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {"models": {}, "sizes": {}}
    for layer in (_BLUEPRINTS[blueprint], *layers):
        values |= layer
        for name, merged in nested.items():
            merged |= layer.get(name, {})
    values |= {"models": Models(**nested["models"]), "sizes": Sizes(**nested["sizes"])}
    configuration = Configuration(environment=environment, **values)
    _refuse_invalid_combinations(configuration, today or date.today())
    return configuration


def _is_not_ours(key: str) -> bool:
    """Whether a context key is the picker of the environment, or the CDK's own.

    All of the CDK's keys have a colon or a slash (`aws:cdk:...`, `@aws-cdk/...`, `vpc-provider:...`) but one.
    """
    return key in {"env", "environments", "acknowledged-issue-numbers"} or ":" in key or "/" in key


def _refuse_invalid_combinations(configuration: Configuration, today: date) -> None:
    for problem in _problems(configuration, today):
        raise ConfigurationError(problem)


def _problems(it: Configuration, today: date) -> Iterator[str]:
    """One sentence for each way in which the flags do not fit each other."""
    if it.environment == LOCAL:
        for flag, allowed in _LOCAL_LIMITS.items():
            value = getattr(it, _field_of(flag))
            if value not in allowed:
                wanted = ", ".join(given(one) for one in allowed)
                yield (
                    f'The environment "local" cannot have {flag} {given(value)}, because the sandbox cannot create it; '
                    f"allowed: {wanted}."
                )
    elif it.enable_password_sign_in:
        yield (
            f"enablePasswordSignIn is true in environment {given(it.environment)}, but plain passwords are for the "
            'sandbox alone; allowed: false, or the environment "local".'
        )
    if it.enable_dax and not it.enable_rag:
        yield (
            "enableDax is true while enableRag is false, but the cache is in front of the knowledge table; "
            "allowed: enableRag true, or enableDax false."
        )
    if it.previous_vector_store == it.vector_store:
        yield (
            f"previousVectorStore is {given(it.previous_vector_store)} like vectorStore, but it names the store that a "
            'reindex moves from; allowed: another store, or "none".'
        )
    if it.enable_audio_archive and not it.enable_voice:
        yield (
            "enableAudioArchive is true while enableVoice is false; "
            "allowed: enableVoice true, or enableAudioArchive false."
        )
    yield from _edge_problems(it)
    if it.enable_voice:
        yield from problems(it.voice_engine, it.languages, it.transcribe, it.polly)
    for role, model_id in it.models:
        retired = retired_on(model_id)
        if retired is not None and retired <= today:
            yield (
                f"The model {given(model_id)} for the role {given(role)} reached its end of life on {retired}; "
                f"allowed: a model that Bedrock still serves, such as {given(dict(Models())[role])}."
            )
    if it.sizes.table_billing == "provisioned" and it.sizes.table_max_capacity < max(
        it.sizes.table_read_capacity, it.sizes.table_write_capacity
    ):
        yield (
            f"sizes.tableMaxCapacity is {it.sizes.table_max_capacity}, which is less than the tables start with; "
            f"allowed: {max(it.sizes.table_read_capacity, it.sizes.table_write_capacity)} or more."
        )


def _edge_problems(it: Configuration) -> Iterator[str]:
    wanting = "enableWaf is true" if it.enable_waf else f"domain is {given(it.domain)}"
    remedy = "enableWaf false" if it.enable_waf else 'domain "none"'
    if it.needs_edge and not it.enable_web:
        yield (
            f"{wanting} while enableWeb is false, but it applies to the web distribution; "
            f"allowed: enableWeb true, or {remedy}."
        )
    if it.needs_edge and it.region is None:
        yield (
            f"{wanting} without a region, but what it needs in us-east-1 is referred to from the environment's region; "
            f'allowed: a region such as "eu-west-1", or {remedy}.'
        )
    if it.domain is None and it.hosted_zone_id is not None:
        yield f'hostedZoneId is {given(it.hosted_zone_id)} without a domain; allowed: a domain, or hostedZoneId "none".'
