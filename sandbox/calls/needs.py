"""Which actions on which resources a request needs, for the operations that the runtime calls.

Actions and resources are those of AWS's service authorization reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html).
An operation that is not here raises `Unknown`, so that nothing goes by unseen.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from operations.privileges.policies import Call

ACCOUNT = "000000000000"

CALLBACK = "@callback"
"""Stands for `<api id>/<stage>` in the resource of a post to a connection: its address in the sandbox names neither."""


class Unknown(Exception):
    """What an operation needs is not known here."""


@dataclass(frozen=True)
class Request:
    """A signed request: `service` and `region` are its signature's, header names are in lower case."""

    service: str
    region: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    status: int = 200
    """Of the answer."""

    @property
    def operation(self) -> str:
        """The operation's name in AWS's JSON protocols."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    def arn(self, resource: str, service: str = "") -> str:
        """A resource of the account, in the request's region."""
        return f"arn:aws:{service or self.service}:{self.region}:{ACCOUNT}:{resource}"

    def json(self) -> Any:
        """The decoded body."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unknown(f"the body of {self.operation or self.path} is no JSON") from None


def calls_of(request: Request) -> list[Call]:
    """What the role of whoever signed the request must allow. Raises `Unknown`."""
    if request.service not in _SERVICES:
        raise Unknown(f"{request.service} {request.operation or f'{request.method} {request.path}'}")
    return list(_SERVICES[request.service](request))


# --- DynamoDB -------------------------------------------------------------------------------------------------------

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
_TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_ON_A_TABLE = {"DeleteItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"}


def _dynamodb(request: Request) -> Iterator[Call]:
    body, operation = request.json(), request.operation

    def on(table: str, action: str = operation) -> Call:
        return Call(f"dynamodb:{action}", table if table.startswith("arn:") else request.arn(f"table/{table}"))

    if operation in _ON_A_TABLE:
        call = on(body["TableName"])
        yield Call(call.action, f"{call.resource}/index/{body['IndexName']}") if "IndexName" in body else call
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        yield from map(on, body["RequestItems"])
    elif operation == "TransactWriteItems":
        for item in body["TransactItems"]:
            [(kind, part)] = item.items()
            yield on(part["TableName"], _TRANSACTED[kind])
    elif operation == "TransactGetItems":
        yield from (on(item["Get"]["TableName"], "GetItem") for item in body["TransactItems"])
    else:
        raise Unknown(f"dynamodb {operation}")


# --- S3 -------------------------------------------------------------------------------------------------------------


def _s3(request: Request) -> Iterator[Call]:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""
    bucket, _, key = request.path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    method, query = request.method, request.query
    if not key:
        if method in ("GET", "HEAD") and not query.keys() & _BUCKET_SETTINGS:
            yield Call("s3:ListBucketVersions" if "versions" in query else "s3:ListBucket", arn)
        elif method == "POST" and "delete" in query:
            yield from _deleted(arn, request.body)
        else:
            raise Unknown(f"s3 {method} {request.path}?{'&'.join(query)}")
        return
    of_a_version = "Version" if "versionId" in query else ""
    parted = query.keys() & {"uploads", "uploadId"}
    if query.keys() & _OBJECT_SETTINGS or (method == "PUT" and "x-amz-tagging" in request.headers):
        raise Unknown(f"s3 {method} object?{'&'.join(query)}")
    if method in ("GET", "HEAD") and not parted:
        yield Call(f"s3:GetObject{of_a_version}", f"{arn}/{key}")
        if request.status == 404:
            # Without this right what is missing is answered with 403, and code that asks for it fails.
            yield Call("s3:ListBucket", arn)
    elif method == "PUT" or (method == "POST" and parted):
        yield Call("s3:PutObject", f"{arn}/{key}")
        if source := unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/"):
            yield Call("s3:GetObject", f"arn:aws:s3:::{source}")
    elif method == "DELETE":
        yield Call("s3:AbortMultipartUpload" if parted else f"s3:DeleteObject{of_a_version}", f"{arn}/{key}")
    else:
        raise Unknown(f"s3 {method} object?{'&'.join(query)}")


def _deleted(bucket: str, body: bytes) -> Iterator[Call]:
    for element in ElementTree.fromstring(body).iter():  # noqa: S314 - a function's own request
        if element.tag.rpartition("}")[2] == "Object":
            said = {part.tag.rpartition("}")[2]: part.text for part in element}
            of_a_version = "Version" if said.get("VersionId") else ""
            yield Call(f"s3:DeleteObject{of_a_version}", f"{bucket}/{said['Key']}")


_BUCKET_SETTINGS = {"acl", "cors", "encryption", "lifecycle", "location", "policy", "tagging", "versioning"}
_OBJECT_SETTINGS = {"acl", "attributes", "legal-hold", "restore", "retention", "select", "tagging", "torrent"}

_FIELD = re.compile(rb'name="(?P<name>[^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(?P<value>[^\r\n]*)\r\n')


def form_credential(body: bytes) -> str:
    """The credential that signed a form to upload with, empty when the body is none."""
    return _form(body).get("x-amz-credential", "")


def presigned_form(request: Request) -> list[Call]:
    """What a form to upload with needs of the role that signed it."""
    return [Call("s3:PutObject", f"arn:aws:s3:::{request.path.strip('/')}/{_form(request.body).get('key', '')}")]


def _form(body: bytes) -> dict[str, str]:
    found = _FIELD.finditer(body)
    return {field["name"].decode().lower(): field["value"].decode("utf-8", "replace") for field in found}


# --- The other services ---------------------------------------------------------------------------------------------


def _kms(request: Request) -> Iterator[Call]:
    key = request.json().get("KeyId")
    if not key or request.operation not in ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey"):
        raise Unknown(f"kms {request.operation} of key {key}")
    yield Call(f"kms:{request.operation}", key if key.startswith("arn:") else request.arn(f"key/{key}"))


def _sqs(request: Request) -> Iterator[Call]:
    if request.operation.removesuffix("Batch") not in ("ChangeMessageVisibility", "DeleteMessage", "SendMessage"):
        raise Unknown(f"sqs {request.operation}")
    queue = urlsplit(request.json()["QueueUrl"]).path.rpartition("/")[2]
    # A batch needs the permission of the operation that it repeats.
    yield Call(f"sqs:{request.operation.removesuffix('Batch')}", request.arn(queue))


def _lambda(request: Request) -> Iterator[Call]:
    found = re.search(r"/2015-03-31/functions/([^/]+)/invocations$", request.path)
    if not found:
        raise Unknown(f"lambda {request.method} {request.path}")
    name = found[1].rpartition(":function:")[2]
    yield Call("lambda:InvokeFunction", request.arn(f"function:{name}"))


def _connections(request: Request) -> Iterator[Call]:
    if "/@connections/" not in request.path:
        raise Unknown(f"execute-api {request.method} {request.path}")
    # One for all connections, or a test of a thousand would fill a thousand lines.
    yield Call("execute-api:ManageConnections", request.arn(f"{CALLBACK}/{request.method}/@connections/ID"))


_MODEL = re.compile(r"/model/(?P<model>.+)/(?P<operation>[a-z-]+)$")
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-prereq.html
_BEDROCK = {
    "converse": "InvokeModel",
    "invoke": "InvokeModel",
    "converse-stream": "InvokeModelWithResponseStream",
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
    # https://docs.aws.amazon.com/nova/latest/nova2-userguide/sonic-getting-started.html
    "invoke-with-bidirectional-stream": "InvokeModelWithBidirectionalStream",
}
# `global.` and the geographies, before the model's own id.
_PROFILE = re.compile(r"^(?P<area>global|[a-z]{2,4}(?:-gov)?)\.(?P<model>[a-z0-9]+\..+)$")


def _bedrock(request: Request) -> Iterator[Call]:
    found = _MODEL.search(request.path)
    if not found or found["operation"] not in _BEDROCK:
        raise Unknown(f"bedrock {request.method} {request.path}")
    action, model = f"bedrock:{_BEDROCK[found['operation']]}", found["model"]
    profile = _PROFILE.match(model)
    if not profile:
        yield Call(action, f"arn:aws:bedrock:{request.region}::foundation-model/{model}")
        return
    # https://docs.aws.amazon.com/bedrock/latest/userguide/geographic-cross-region-inference.html: the profile, and
    # through it the model, here and wherever the profile sends the request.
    arn = request.arn(f"inference-profile/{model}")
    yield Call(action, arn)
    for region in (request.region, *([""] if profile["area"] == "global" else [])):
        foundation = f"arn:aws:bedrock:{region}::foundation-model/{profile['model']}"
        yield Call(action, foundation, (("bedrock:InferenceProfileArn", arn),))


def _polly(request: Request) -> Iterator[Call]:
    operation = {"/v1/speech": "SynthesizeSpeech", "/v1/synthesisStream": "StartSpeechSynthesisStream"}
    if request.path not in operation:
        raise Unknown(f"polly {request.path}")
    yield Call(f"polly:{operation[request.path]}", "*")


def _transcribe(request: Request) -> Iterator[Call]:
    if request.path == "/stream-transcription":
        yield Call("transcribe:StartStreamTranscription", "*")
        return
    body = request.json()
    if request.operation == "StartTranscriptionJob":
        bucket = body.get("OutputBucketName", "")
        yield Call("transcribe:StartTranscriptionJob", "*", (("transcribe:OutputBucketName", bucket),))
        # Transcribe reads the recording and writes the result with its caller's rights.
        media = urlsplit(body["Media"]["MediaFileUri"])
        if media.scheme != "s3":
            raise Unknown(f"transcribe of {media.scheme} media")
        yield Call("s3:GetObject", f"arn:aws:s3:::{media.netloc}{media.path}")
        yield Call("s3:PutObject", f"arn:aws:s3:::{bucket}/{body['OutputKey']}")
    elif request.operation in ("DeleteTranscriptionJob", "GetTranscriptionJob"):
        job = body["TranscriptionJobName"]
        yield Call(f"transcribe:{request.operation}", request.arn(f"transcription-job/{job}"))
    else:
        raise Unknown(f"transcribe {request.operation}")


def _secretsmanager(request: Request) -> Iterator[Call]:
    if request.operation != "GetSecretValue":
        raise Unknown(f"secretsmanager {request.operation}")
    secret = request.json()["SecretId"]
    yield Call(
        "secretsmanager:GetSecretValue", secret if secret.startswith("arn:") else request.arn(f"secret:{secret}")
    )


def _cognito(request: Request) -> Iterator[Call]:
    if request.operation not in ("AdminDeleteUser", "AdminGetUser", "ListUsers"):
        raise Unknown(f"cognito-idp {request.operation}")
    pool = request.json()["UserPoolId"]
    yield Call(f"cognito-idp:{request.operation}", request.arn(f"userpool/{pool}"))


_SERVICES: dict[str, Callable[[Request], Iterator[Call]]] = {
    "bedrock": _bedrock,
    "cognito-idp": _cognito,
    "dynamodb": _dynamodb,
    "execute-api": _connections,
    "kms": _kms,
    "lambda": _lambda,
    "polly": _polly,
    "s3": _s3,
    "secretsmanager": _secretsmanager,
    "sqs": _sqs,
    "transcribe": _transcribe,
}
