"""What an environment's templates say of its functions: their roles' statements and what Lambda itself does for them.

A resource is named `Part.LogicalId`, as in `Data.StorageKnowledge152361D9`, where the part is its stack's name without
the environment's: so the same resource has one name in every environment, and none that is only known once deployed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from operations.assembly import Assembly, Resource
from operations.privileges.policies import Call, Statement, UnsupportedForm, read_statements

ACCOUNT = "000000000000"
_REGION = "us-east-1"
"""Where an environment is that names no region; any will do."""

_ARNS = {
    "AWS::Cognito::UserPool": "cognito-idp:{region}:{account}:userpool/{name}",
    "AWS::DynamoDB::GlobalTable": "dynamodb:{region}:{account}:table/{name}",
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{region}:{account}:secret:{name}",
}


_NAMED_BY_ARN = {"AWS::Lambda::Alias", "AWS::SNS::Topic", "AWS::SecretsManager::Secret"}
"""What `Ref` gives the ARN of."""


@dataclass(frozen=True)
class Function:
    """One of the product's functions. `called_by_lambda` is what the Lambda service does with its role."""

    name: str
    module: str
    """Of `parley.functions`: what people call it."""
    statements: tuple[Statement, ...]
    called_by_lambda: tuple[Call, ...]


class Templates:
    """An environment's templates, with CloudFormation's intrinsic functions resolved."""

    def __init__(self, assembly: Assembly, environment: str) -> None:
        self._assembly = assembly
        self._prefix = f"Parley-{environment}-"
        self._resources = {(found.stack, found.logical_id): found for found in assembly.resources()}
        regions = {region for name, region in assembly.regions.items() if region and not name.endswith("-Edge")}
        if len(regions) > 1:
            raise UnsupportedForm(f"An environment in several regions: {', '.join(sorted(regions))}.")
        self.region = regions.pop() if regions else _REGION

    def symbol(self, stack: str, logical_id: str) -> str:
        """A resource's name here, the same in every environment."""
        return f"{stack.removeprefix(self._prefix)}.{logical_id}"

    @cached_property
    def functions(self) -> list[Function]:
        """The functions that run the product's own code, in order of their modules."""
        found = [resource for resource in self._of("AWS::Lambda::Function") if _is_ours(resource)]
        return sorted(map(self._function, found), key=lambda function: function.module)

    @cached_property
    def keys(self) -> dict[str, str]:
        """The ARN of the customer-managed key of each table, bucket, queue and secret that has one, by its own ARN."""
        found: dict[str, str] = {}
        for type_, path in _KEYS.items():
            for resource in self._of(type_):
                for value in _values_at(resource.properties, path):
                    found[self._arn(resource)] = self._key_arn(resource.stack, value)
        return found

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The ARN by which a function is invoked that is released by an alias, by the function's own ARN."""
        released = {self._arn(alias): alias for alias in self._of("AWS::Lambda::Alias")}
        return {arn.rpartition(":")[0]: arn for arn in released}

    @property
    def callback(self) -> str:
        """`<api>/<stage>` of the WebSocket API, empty when there is none."""
        for stage in self._of("AWS::ApiGatewayV2::Stage"):
            api = self._target(stage.stack, stage.properties["ApiId"])
            if api is not None and api.properties["ProtocolType"] == "WEBSOCKET":
                return f"{self.symbol(api.stack, api.logical_id)}/{stage.properties['StageName']}"
        return ""

    def policies(self) -> Iterator[tuple[str, list[Statement]]]:
        """Every identity policy of the environment: the construct that it belongs to, and its statements."""
        for resource in self._of("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            for document in _documents(resource):
                yield resource.path, read_statements(self.resolve(resource.stack, document))

    def resolve(self, stack: str, value: Any) -> Any:
        """A template's value with its intrinsic functions resolved. Raises `UnsupportedForm` for those unknown here."""
        if isinstance(value, list):
            return [self.resolve(stack, item) for item in value]
        if not isinstance(value, Mapping):
            return value
        match list(value.items()):
            case [("Ref", str(name))]:
                return self._ref(stack, name)
            case [("Fn::GetAtt", [str(name), str(attribute)])]:
                return self._attribute(stack, name, attribute)
            case [("Fn::Join", [str(delimiter), list(parts)])]:
                return delimiter.join(self.resolve(stack, parts))
            case [("Fn::Sub", str(text))]:
                return re.sub(r"\$\{([^}!]+)\}", lambda found: str(self._ref(stack, found[1])), text)
            case [("Fn::GetStackOutput", {"StackName": str(other), "OutputName": str(output)})]:
                return self.resolve(other, self._assembly.stacks[other]["Outputs"][output]["Value"])
            case [(str(name), _)] if name.startswith("Fn::") or name == "Condition":
                raise UnsupportedForm(f"The intrinsic function {name} is not resolved: {value}.")
        return {key: self.resolve(stack, item) for key, item in value.items()}

    def _function(self, resource: Resource) -> Function:
        role = self._target(resource.stack, resource.properties["Role"])
        if role is None or role.properties.get("ManagedPolicyArns") or role.properties.get("PermissionsBoundary"):
            raise UnsupportedForm(f"{resource.path} has a role with policies that are not in the template.")
        attached = [role, *(policy for policy in self._of("AWS::IAM::Policy") if role in self._roles_of(policy))]
        statements = tuple(
            statement
            for policy in attached
            for document in _documents(policy)
            for statement in read_statements(self.resolve(policy.stack, document))
        )
        return Function(
            name=self.symbol(resource.stack, resource.logical_id),
            module=resource.properties["Handler"].split(".")[-2],
            statements=statements,
            called_by_lambda=tuple(self._called_by_lambda(resource)),
        )

    def _called_by_lambda(self, function: Resource) -> Iterator[Call]:
        """https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html and its sources' pages."""
        properties = function.properties
        group = self._target(function.stack, properties["LoggingConfig"]["LogGroup"])
        if group is None:
            raise UnsupportedForm(f"{function.path} logs to a group that is not in its stack.")
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            yield Call(action, self._arn(group).replace("*", "log-stream:stream"))
        if properties.get("TracingConfig", {}).get("Mode") == "Active":
            yield Call("xray:PutTraceSegments", "*")
            yield Call("xray:PutTelemetryRecords", "*")
        if "VpcConfig" in properties:
            yield from (Call(f"ec2:{action}", "*") for action in _NETWORK_INTERFACES)
        for mapping in self._of("AWS::Lambda::EventSourceMapping"):
            if self._invoked(mapping) == function:
                source = self.resolve(mapping.stack, mapping.properties["EventSourceArn"])
                yield from (Call(action, resource) for action, resource in _reading(source))
                yield from self._on_failure(mapping.stack, mapping.properties)
        for invocations in self._of("AWS::Lambda::EventInvokeConfig"):
            if self._invoked(invocations) == function:
                yield from self._on_failure(invocations.stack, invocations.properties)

    def _on_failure(self, stack: str, properties: Mapping[str, Any]) -> Iterator[Call]:
        destination = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if destination is not None:
            arn = self.resolve(stack, destination)
            if ":sqs:" not in arn:
                raise UnsupportedForm(f"A destination that is no queue: {arn}.")
            yield Call("sqs:SendMessage", arn)

    def _of(self, *types: str) -> Iterator[Resource]:
        return (resource for resource in self._resources.values() if resource.type in types)

    def _roles_of(self, policy: Resource) -> list[Resource | None]:
        return [self._target(policy.stack, role) for role in policy.properties.get("Roles", [])]

    def _target(self, stack: str, value: Any) -> Resource | None:
        """The resource of the stack that a `Ref` or `Fn::GetAtt` names."""
        match value:
            case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
                return self._resources.get((stack, name))
        return None

    def _invoked(self, resource: Resource) -> Resource | None:
        """The function that a resource names, also by an alias of it."""
        named = self._target(resource.stack, resource.properties["FunctionName"])
        return self._invoked(named) if named is not None and named.type == "AWS::Lambda::Alias" else named

    def _ref(self, stack: str, name: str) -> str:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackName": stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        resource = self._resources.get((stack, name))
        if resource is None:
            raise UnsupportedForm(f"{stack} has no resource {name}.")
        return self._arn(resource) if resource.type in _NAMED_BY_ARN else self.symbol(stack, name)

    def _attribute(self, stack: str, name: str, attribute: str) -> str:
        resource = self._resources.get((stack, name))
        if resource is None:
            raise UnsupportedForm(f"{stack} has no resource {name}.")
        if attribute == "Arn" and resource.type in _ARNS:
            return self._arn(resource)
        if attribute == "StreamArn":
            return f"{self._arn(resource)}/stream/label"
        # A name of its own, in the shape of an ARN where it is one.
        own = self.symbol(stack, name)
        service = resource.type.split("::")[1].lower()
        return f"arn:aws:{service}:{self.region}:{ACCOUNT}:{own}" if attribute.endswith("Arn") else f"{own}.{attribute}"

    def _arn(self, resource: Resource) -> str:
        if resource.type == "AWS::Lambda::Alias":
            function = self._invoked(resource)
            if function is None:
                raise UnsupportedForm(f"{resource.path} is an alias of a function that is not in its stack.")
            return f"{self._arn(function)}:{resource.properties['Name']}"
        own = self.symbol(resource.stack, resource.logical_id)
        pattern = _ARNS.get(resource.type, f"{resource.type.split('::')[1].lower()}:{{region}}:{{account}}:{{name}}")
        return "arn:aws:" + pattern.format(region=self.region, account=ACCOUNT, name=own)

    def _key_arn(self, stack: str, value: Any) -> str:
        key = str(self.resolve(stack, value))
        return key if key.startswith("arn:") else f"arn:aws:kms:{self.region}:{ACCOUNT}:key/{key}"


# Where each type of resource names its key.
_KEYS = {
    "AWS::DynamoDB::GlobalTable": ("Replicas", "SSESpecification", "KMSMasterKeyId"),
    "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
    "AWS::S3::Bucket": (
        *("BucketEncryption", "ServerSideEncryptionConfiguration"),
        *("ServerSideEncryptionByDefault", "KMSMasterKeyID"),
    ),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
    "AWS::SecretsManager::Secret": ("KmsKeyId",),
}

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
_NETWORK_INTERFACES = (
    *("AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"),
    *("DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"),
)


def _is_ours(function: Resource) -> bool:
    return str(function.properties.get("Handler", "")).startswith("parley.")


def _reading(source: str) -> Iterator[tuple[str, str]]:
    """What Lambda needs of the role to poll a source."""
    if ":sqs:" in source:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        yield from ((f"sqs:{action}", source) for action in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage"))
    elif ":dynamodb:" in source:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html
        yield from ((f"dynamodb:{action}", source) for action in ("DescribeStream", "GetRecords", "GetShardIterator"))
        yield "dynamodb:ListStreams", source
    else:
        raise UnsupportedForm(f"An event source that is neither a queue nor a table's stream: {source}.")


def _documents(resource: Resource) -> list[Any]:
    if resource.type == "AWS::IAM::Role":
        return [policy["PolicyDocument"] for policy in resource.properties.get("Policies", [])]
    return [resource.properties["PolicyDocument"]]


def _values_at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """What stands at a path, through lists."""
    if isinstance(value, list):
        for item in value:
            yield from _values_at(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _values_at(value[path[0]], path[1:])
