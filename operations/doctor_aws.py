"""What the account must have before an environment is deployed to it. Every call reads; none changes anything."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    UnknownServiceError,
)

from operations.command import Check, Mark
from operations.deployed import EDGE_REGION
from operations.environment import Place, aws_trouble
from operations.quotas import API_RATE_CODE
from stacks.sizes import FRAMES_PER_CALL, MESSAGES_PER_REQUEST

if TYPE_CHECKING:
    from stacks.config import Configuration

LEAST_BOOTSTRAP = 6
"""The version of the bootstrap that the CDK's own synthesizer asks for."""

WARN_DAYS = 90
"""How long before its end of life a model is warned of."""

_REFUSED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "UnauthorizedException"}
)
_GEOGRAPHY = re.compile(r"^(global|us|us-gov|eu|ca|jp|au|apac)\.")
_TABLES = 8


def examine(place: Place, configuration: "Configuration") -> list[Check]:
    """The checks of an account and region, for an environment."""
    credentials = _credentials(place, configuration)
    if credentials.mark is Mark.FAILED:
        return [credentials]
    checks = [credentials, *_bootstraps(place, configuration)]
    checks += _services(place, configuration)
    checks += _models(place, configuration)
    checks += _quotas(place, configuration)
    return checks


def _credentials(place: Place, configuration: "Configuration") -> Check:
    try:
        account = place.account()
    except (BotoCoreError, ClientError) as error:
        return Check("credentials", Mark.FAILED, aws_trouble(place.name, error), "Sign in, or set AWS_PROFILE.")
    if configuration.account not in (None, account):
        found = f"they open account {account}, and {place.name} is in {configuration.account}"
        return Check("credentials", Mark.FAILED, found, "Set AWS_PROFILE to that account.")
    return Check("credentials", Mark.OK, f"account {account}, {place.region}")


def _bootstraps(place: Place, configuration: "Configuration") -> Iterator[Check]:
    where = {place.region: ""}
    if configuration.needs_edge:
        where.setdefault(EDGE_REGION, ", from where CloudFront takes its web ACL and its certificate")
    for region, why in where.items():
        yield _looked_at(f"bootstrap in {region}", partial(_bootstrap, place, region, why))


def _bootstrap(place: Place, region: str, why: str) -> Check:
    what = f"bootstrap in {region}"
    ssm = place.client("ssm", region)
    try:
        version = int(ssm.get_parameter(Name="/cdk-bootstrap/hnb659fds/version")["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        version = 0
    if version >= LEAST_BOOTSTRAP:
        return Check(what, Mark.OK, f"version {version}")
    remedy = f"node_modules/.bin/cdk bootstrap aws://{place.account()}/{region}"
    found = f"version {version} is too old" if version else f"not done{why}"
    return Check(what, Mark.FAILED, found, remedy)


def _services(place: Place, configuration: "Configuration") -> Iterator[Check]:
    """Whether each service answers in the region: the list that AWS publishes is always behind."""
    wanted: dict[str, Callable[[], object]] = {
        "apigatewayv2": lambda: place.client("apigatewayv2").get_apis(MaxResults="1"),
        "dynamodb": lambda: place.client("dynamodb").list_tables(Limit=1),
        "bedrock": lambda: place.client("bedrock").list_inference_profiles(maxResults=1),
    }
    if configuration.auth == "cognito":
        wanted["cognito-idp"] = lambda: place.client("cognito-idp").list_user_pools(MaxResults=1)
    if configuration.enable_rag:
        stores = {configuration.vector_store, configuration.previous_vector_store}
        if "s3vectors" in stores:
            wanted["s3vectors"] = lambda: place.client("s3vectors").list_vector_buckets(maxResults=1)
        if "opensearch" in stores:
            wanted["opensearchserverless"] = lambda: place.client("opensearchserverless").list_collections(maxResults=1)
    if configuration.enable_dax:
        wanted["dax"] = lambda: place.client("dax").describe_clusters(MaxResults=1)
    if configuration.enable_voice:
        # Recordings are transcribed whatever the engine is.
        wanted["transcribe"] = lambda: place.client("transcribe").list_transcription_jobs(MaxResults=1)
        if "cascade" in configuration.voice_engine:
            wanted["polly"] = lambda: place.client("polly").describe_voices(Engine="generative")
    for service, ask in wanted.items():
        yield _service(place, service, ask)


def _service(place: Place, service: str, ask: Callable[[], object]) -> Check:
    what = f"{service} in {place.region}"
    try:
        ask()
    except (EndpointConnectionError, ConnectTimeoutError, UnknownServiceError):
        remedy = "Choose another region, or flags that do not need it (docs/configuration.md)."
        return Check(what, Mark.FAILED, "does not answer: it is not offered in this region, or out of reach", remedy)
    except (BotoCoreError, ClientError) as error:
        return _not_looked_at(what, error)
    return Check(what, Mark.OK, "answers")


def _models(place: Place, configuration: "Configuration") -> Iterator[Check]:
    roles: dict[str, list[str]] = {}
    for role, model in configuration.models:
        if (role == "embedding" and not configuration.enable_rag) or (role == "voice" and not _speaks(configuration)):
            continue
        roles.setdefault(model, []).append(role)
    for model, used_for in roles.items():
        what = f"model {model}"
        said = f"for {', '.join(used_for)}"
        yield _looked_at(what, partial(_model, place, what, model, said))


def _speaks(configuration: "Configuration") -> bool:
    return configuration.enable_voice and "nova-sonic" in configuration.voice_engine


def _model(place: Place, what: str, model: str, used_for: str) -> Check:
    bedrock = place.client("bedrock")
    base = _GEOGRAPHY.sub("", model)
    is_profile = base != model
    if is_profile:
        try:
            profile = bedrock.get_inference_profile(inferenceProfileIdentifier=model)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"ResourceNotFoundException", "ValidationException"}:
                remedy = f"Name a profile in cdk.json (models) that {place.region} has."
                return Check(what, Mark.FAILED, f"no such inference profile in {place.region}, {used_for}", remedy)
            raise
        if profile["status"] != "ACTIVE":
            return Check(what, Mark.FAILED, f"the inference profile is {profile['status']}, {used_for}")
    access = bedrock.get_foundation_model_availability(modelId=base)
    console = f"Ask for it in the Bedrock console of {place.region} under Model access."
    if not is_profile and access["regionAvailability"] != "AVAILABLE":
        remedy = "Name another model in cdk.json (models), or an inference profile."
        return Check(what, Mark.FAILED, f"not offered in {place.region}, {used_for}", remedy)
    if access["authorizationStatus"] != "AUTHORIZED" or access["entitlementAvailability"] != "AVAILABLE":
        return Check(what, Mark.FAILED, f"this account may not use it, {used_for}", console)
    if access["agreementAvailability"]["status"] != "AVAILABLE":
        found = f"its agreement is {access['agreementAvailability']['status']}, {used_for}"
        return Check(what, Mark.FAILED, found, console)
    return _lifecycle(bedrock, what, base, used_for)


def _lifecycle(bedrock: Any, what: str, base: str, used_for: str) -> Check:
    try:
        lifecycle = bedrock.get_foundation_model(modelIdentifier=base)["modelDetails"].get("modelLifecycle", {})
    except ClientError as error:
        # A profile may route to models that are in no list of this region.
        if error.response["Error"]["Code"] in {"ResourceNotFoundException", "ValidationException"}:
            return Check(what, Mark.OK, used_for)
        raise
    end = lifecycle.get("endOfLifeTime")
    remedy = "Name its successor in cdk.json (models)."
    if end is not None and end <= datetime.now(UTC):
        return Check(what, Mark.FAILED, f"reached its end of life on {end:%Y-%m-%d}, {used_for}", remedy)
    if end is not None and end <= datetime.now(UTC) + timedelta(days=WARN_DAYS):
        return Check(what, Mark.WARNING, f"ends on {end:%Y-%m-%d}, {used_for}", remedy)
    if lifecycle.get("status") == "LEGACY":
        return Check(what, Mark.WARNING, f"is a legacy model, {used_for}", remedy)
    return Check(what, Mark.OK, used_for)


def _quotas(place: Place, configuration: "Configuration") -> Iterator[Check]:
    sizes = configuration.sizes
    calls = sizes.voice_calls if configuration.enable_voice else 0
    documents = sizes.ingestion_concurrency if configuration.enable_rag else 0
    yield _looked_at(
        "Lambda concurrency",
        lambda: _enough(
            "Lambda concurrency",
            place.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"],
            # A second each for what the throttle admits.
            calls + documents + sizes.throttle_rate,
            f"{calls} calls, {documents} documents, {sizes.throttle_rate} requests at once",
            "Ask for more under Service Quotas, Lambda, Concurrent executions.",
        ),
    )
    rate = sizes.throttle_rate * (1 + MESSAGES_PER_REQUEST) + calls * FRAMES_PER_CALL
    # The burst follows from the rate: nobody can ask for another.
    yield _looked_at("API Gateway rate", partial(_api_quota, place, rate))
    if sizes.table_billing == "provisioned":
        yield _looked_at("DynamoDB capacity", lambda: _table_capacity(place, sizes.table_max_capacity))
    if calls and _speaks(configuration):
        yield _looked_at("calls of the speech model", lambda: _speech_calls(place, configuration.models.voice, calls))


def _api_quota(place: Place, needed: int) -> Check:
    quota = place.client("service-quotas").get_service_quota(ServiceCode="apigateway", QuotaCode=API_RATE_CODE)["Quota"]
    remedy = "Ask for more under Service Quotas, API Gateway, or lower sizes in cdk.json."
    return _enough("API Gateway rate", quota["Value"], needed, "what all stages' throttles admit together", remedy)


def _table_capacity(place: Place, largest: int) -> Check:
    limits = place.client("dynamodb").describe_limits()
    least = min(limits["AccountMaxReadCapacityUnits"], limits["AccountMaxWriteCapacityUnits"])
    remedy = "Ask for more under Service Quotas, DynamoDB, or lower sizes.tableMaxCapacity."
    return _enough("DynamoDB capacity", least, _TABLES * largest, f"{_TABLES} tables of {largest} units", remedy)


def _speech_calls(place: Place, model: str, calls: int) -> Check:
    """Bedrock's quotas have a code for each model, so the one for this model is found by its name."""
    what = "calls of the speech model"
    name = place.client("bedrock").get_foundation_model(modelIdentifier=model)["modelDetails"]["modelName"]
    pages = place.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
    for page in pages:
        for quota in page["Quotas"]:
            said = quota["QuotaName"].lower()
            if "concurrent" in said and name.lower() in said:
                remedy = "Ask for more under Service Quotas, Amazon Bedrock, or lower sizes.voiceCalls."
                return _enough(what, quota["Value"], calls, f"sizes.voiceCalls; {quota['QuotaName']}", remedy)
    return Check(what, Mark.WARNING, f"Service Quotas names none for {name}", "Look it up in the Bedrock console.")


def _enough(what: str, has: float, needs: float, why: str, remedy: str) -> Check:
    said = f"{has:g} of {needs:g} needed ({why})"
    return Check(what, Mark.OK, said) if has >= needs else Check(what, Mark.WARNING, said, remedy)


def _looked_at(what: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except (BotoCoreError, ClientError) as error:
        return _not_looked_at(what, error)


def _not_looked_at(what: str, error: BotoCoreError | ClientError) -> Check:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in _REFUSED:
        action = f"{error.operation_name}"
        return Check(what, Mark.WARNING, f"these credentials may not look ({action})", "Allow it, or look by hand.")
    return Check(what, Mark.WARNING, f"could not be looked at: {error}")


__all__ = ["LEAST_BOOTSTRAP", "WARN_DAYS", "examine"]
