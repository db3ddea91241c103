import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Duration, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template
from parley_constructs.python_function import PackagingError, PythonFunction, host_architecture, python_package

# The versions that the project itself is tested with: they are in uv's cache already.
PINNED = dict(re.findall(r"^([\w-]+)==(\S+)", Path("requirements.txt").read_text(), re.MULTILINE))
HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    package = tmp_path / "source" / "demo"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__" / "stale.cpython-38.pyc").write_bytes(b"stale")
    (package / ".notes").write_text("not code")
    (package / "__init__.py").write_text("def handler(event, context):\n    return 1\n")
    (package / "prompt.txt").write_text("data files come too")
    return package.parent


def requirements(folder: Path, *names: str) -> Path:
    file = folder / "requirements.txt"
    file.write_text("".join(f"{name}=={PINNED[name]}\n" for name in names))
    return file


def synthesize(outdir: Path, code: Callable[[], lambda_.Code], **context: Any) -> Path:
    """Synthesize a function of the code, and give the folder that it would be deployed from."""
    app = App(outdir=str(outdir), context={"aws:cdk:enable-asset-metadata": True, **context})
    stack = Stack(app, "Stack")
    PythonFunction(stack, "Function", code=code(), handler="demo.handler", service="demo")
    app.synth()
    template = json.loads((outdir / "Stack.template.json").read_text())
    [function] = [r for r in template["Resources"].values() if r["Type"] == "AWS::Lambda::Function"]
    folder: str = function["Metadata"]["aws:asset:path"]
    return outdir / folder


class TestPackage:
    def test_holds_the_sources_and_the_requirements_and_no_leftovers(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "jmespath")

        built = synthesize(
            tmp_path / "out", lambda: python_package(source, requirements=pins, packages=["demo"], host=True)
        )

        assert (built / "demo" / "prompt.txt").read_text() == "data files come too"
        assert (built / "jmespath" / "__init__.py").exists()
        assert list(built.glob("jmespath-*.dist-info/METADATA")), "packages read their own version from it"
        left_over = ["bin", "demo/.notes", "demo/__pycache__/stale.cpython-38.pyc"]
        assert not [name for name in left_over if (built / name).exists()]
        assert not [*built.glob("*.dist-info/RECORD"), *built.glob("jmespath/**/*.pyi")]

    def test_ships_bytecode_that_python_trusts_whatever_the_files_date(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "jmespath")

        built = synthesize(
            tmp_path / "out", lambda: python_package(source, requirements=pins, packages=["demo"], host=True)
        )

        for module in (built / "demo" / "__init__.py", built / "jmespath" / "parser.py"):
            bytecode = Path(importlib.util.cache_from_source(str(module))).read_bytes()
            # PEP 552: bit 0 says "checked by hash, not by date", bit 1 "check the source"; the latter is off.
            assert int.from_bytes(bytecode[4:8], "little") == 0b01

    def test_is_built_for_the_target_and_not_for_this_machine(self, source: Path, tmp_path: Path) -> None:
        other = {"x86_64": "arm64"}.get(host_architecture().name, "x86_64")
        pins = requirements(tmp_path, "msgspec")

        built = synthesize(
            tmp_path / "out",
            lambda: python_package(
                source,
                requirements=pins,
                packages=["demo"],
                architecture=lambda_.Architecture.custom(other),
                python_version="3.13",
            ),
        )

        [extension] = built.glob("msgspec/_core*.so")
        assert extension.name.startswith("_core.cpython-313-")
        assert {"arm64": "aarch64"}.get(other, other) in extension.name

    def test_for_the_host_is_importable_on_the_host(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "msgspec")

        built = synthesize(
            tmp_path / "out", lambda: python_package(source, requirements=pins, packages=["demo"], host=True)
        )

        run = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(built)!r}); import msgspec, demo"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr

    def test_keeps_only_the_operations_that_are_named(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "botocore")

        built = synthesize(
            tmp_path / "out",
            lambda: python_package(
                source,
                requirements=pins,
                packages=["demo"],
                host=True,
                botocore_operations={"dynamodb": ["GetItem"], "kms": [], "s3": ["GetObject"]},
            ),
        )

        script = (
            f"import sys; sys.path.insert(0, {str(built)!r})\n"
            "import botocore.session, botocore.exceptions\n"
            "session = botocore.session.get_session()\n"
            "table = session.create_client('dynamodb', region_name='eu-west-1')\n"
            "keys = session.create_client('kms', region_name='eu-west-1')\n"
            "session.set_credentials('key', 'secret')\n"
            "objects = session.create_client('s3', region_name='eu-west-1')\n"
            "url = objects.generate_presigned_url('get_object', Params={'Bucket': 'bucket', 'Key': 'key'})\n"
            "print(url.partition('?')[0])\n"
            "print(session.get_available_services(), hasattr(table, 'get_item'), hasattr(table, 'put_item'), "
            "hasattr(keys, 'decrypt'), table.exceptions.ResourceNotFoundException)"
        )
        run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
        assert run.stdout.splitlines() == [
            "https://bucket.s3.amazonaws.com/key",
            "['dynamodb', 'kms', 's3'] True False True <class 'botocore.errorfactory.ResourceNotFoundException'>",
        ], run.stderr

    def test_refuses_an_operation_that_does_not_exist(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "botocore")
        operations = {"dynamodb": ["GetItem", "GetLucky"]}

        with pytest.raises(PackagingError, match=r"botocore knows no operation GetLucky of dynamodb\.$"):
            synthesize(
                tmp_path / "out",
                lambda: python_package(
                    source, requirements=pins, packages=["demo"], host=True, botocore_operations=operations
                ),
            )

    def test_is_not_built_again_while_nothing_changed(self, source: Path, tmp_path: Path) -> None:
        script = tmp_path / "app.py"
        pins = requirements(tmp_path, "jmespath")
        script.write_text(
            "from aws_cdk import App, Stack\n"
            "from parley_constructs.python_function import PythonFunction, python_package\n"
            f"app = App(outdir={str(tmp_path / 'out')!r})\n"
            f"code = python_package({str(source)!r}, requirements={str(pins)!r}, packages=['demo'], host=True)\n"
            "PythonFunction(Stack(app, 'Stack'), 'Function', code=code, handler='demo.handler', service='demo')\n"
            "app.synth()\n"
        )

        def run(**environment: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, str(script)],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=False,
            )

        first = run()
        assert first.returncode == 0, first.stderr
        # uv could build nothing now: it has no cache and no network.
        without_uv = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "empty")}
        second = run(**without_uv)
        assert second.returncode == 0, second.stderr
        (source / "demo" / "prompt.txt").write_text("changed")
        assert run(**without_uv).returncode != 0, "changed sources must be built"

    def test_is_not_built_when_bundling_is_off(self, source: Path, tmp_path: Path) -> None:
        pins = tmp_path / "requirements.txt"
        pins.write_text("there-is-no-such-distribution==1\n")

        synthesize(
            tmp_path / "out",
            lambda: python_package(source, requirements=pins, packages=["demo"]),
            **{"aws:cdk:bundling-stacks": []},
        )


class TestAssetHash:
    @staticmethod
    def asset(source: Path, pins: Path, **options: Any) -> str:
        stack = Stack(App(context={"aws:cdk:bundling-stacks": []}), "Stack")
        code = python_package(source, requirements=pins, packages=["demo"], **options)
        PythonFunction(stack, "Function", code=code, handler="demo.handler", service="demo")
        [function] = Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
        key: str = function["Properties"]["Code"]["S3Key"]
        return key

    def test_depends_on_contents_and_not_on_where_or_when(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "jmespath")
        before = self.asset(source, pins)

        (source / "demo" / "__pycache__" / "other.pyc").write_bytes(b"left by a test run")
        os.utime(source / "demo" / "__init__.py", (1, 1))
        moved = source.rename(tmp_path / "elsewhere")

        assert self.asset(moved, pins) == before

    def test_changes_with_a_source_the_requirements_or_the_target(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "jmespath")
        hashes = [
            self.asset(source, pins),
            self.asset(source, pins, architecture=lambda_.Architecture.X86_64),
            self.asset(source, pins, python_version="3.12"),
            self.asset(source, pins, host=True),
            self.asset(source, pins, botocore_operations={"s3": []}),
        ]
        (source / "demo" / "__init__.py").write_text("def handler(event, context):\n    return 2\n")
        hashes.append(self.asset(source, pins))
        pins = requirements(tmp_path, "jmespath", "six")
        hashes.append(self.asset(source, pins))

        assert len(set(hashes)) == len(hashes)


class TestPackagingError:
    def test_of_uv_is_one_sentence_with_uvs_reason(self, source: Path, tmp_path: Path) -> None:
        pins = tmp_path / "requirements.txt"
        pins.write_text("jmespath==1.0\njmespath==0.9\n")

        with pytest.raises(PackagingError) as raised:
            synthesize(tmp_path / "out", lambda: python_package(source, requirements=pins, packages=["demo"]))

        message = str(raised.value)
        assert message.startswith("The Lambda package cannot be built from demo and requirements.txt: uv says: ")
        assert "jmespath==1.0" in message
        assert "\n" not in message
        assert raised.value.__cause__ is None

    def test_says_when_uv_cannot_be_run(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("uv.find_uv_bin", lambda: str(tmp_path / "no-uv"))
        pins = requirements(tmp_path, "jmespath")

        with pytest.raises(PackagingError, match=r"^The Lambda package .* uv cannot be run: .*no-uv'$"):
            synthesize(tmp_path / "out", lambda: python_package(source, requirements=pins, packages=["demo"]))

    def test_leaves_other_failures_as_they_are(self) -> None:
        with pytest.raises(RuntimeError, match="description") as raised:
            PythonFunction(
                Stack(App(), "Stack"),
                "Function",
                code=lambda_.Code.from_inline("def handler(event, context): pass"),
                handler="index.handler",
                service="demo",
                description="too long for Lambda" * 20,
            )

        assert raised.value.__cause__ is not None, "where it comes from must stay visible"

    def test_does_not_stand_in_the_way_of_the_next_try(self, source: Path, tmp_path: Path) -> None:
        pins = requirements(tmp_path, "jmespath")

        def code() -> lambda_.Code:
            return python_package(source, requirements=pins, packages=["demo"], host=True)

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("UV_OFFLINE", "1")
            patch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
            with pytest.raises(PackagingError):
                synthesize(tmp_path / "out", code)

        assert (synthesize(tmp_path / "out", code) / "jmespath").is_dir()

    def test_names_what_is_missing(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(PackagingError, match="there is no import package absent in"):
            python_package(source, requirements=requirements(tmp_path), packages=["absent"])
        with pytest.raises(PackagingError, match=r"there is no requirements file .*nowhere\.txt"):
            python_package(source, requirements=tmp_path / "nowhere.txt", packages=["demo"])


def test_host_architecture_is_this_machines() -> None:
    arm = platform.machine().lower() in ("arm64", "aarch64")
    assert host_architecture().name == ("arm64" if arm else "x86_64")


@pytest.fixture(scope="module")
def template() -> Template:
    stack = Stack(App(), "Stack")
    inline = lambda_.Code.from_inline("def handler(event, context): pass")
    PythonFunction(stack, "Plain", code=inline, handler="index.handler", service="plain", environment={"TABLE": "t"})
    PythonFunction(
        stack,
        "Asynchronous",
        code=inline,
        handler="index.handler",
        service="asynchronous",
        timeout=Duration.seconds(60),
        memory_size=1769,
        architecture=lambda_.Architecture.X86_64,
        log_retention=logs.RetentionDays.ONE_WEEK,
        log_removal_policy=RemovalPolicy.DESTROY,
        log_level="DEBUG",
        encryption_key=kms.Key(stack, "Key"),
        vpc=ec2.Vpc(stack, "Vpc"),
        reserved_concurrency=3,
        dead_letter_queue=sqs.Queue(stack, "Queue"),
        retry_attempts=0,
        max_event_age=Duration.seconds(60),
    )
    return Template.from_stack(stack)


class TestFunction:
    def test_is_arm64_with_tracing_and_the_powertools_environment(self, template: Template) -> None:
        template.has_resource_properties(
            "AWS::Lambda::Function",
            {
                "Architectures": ["arm64"],
                "Runtime": "python3.13",
                "TracingConfig": {"Mode": "Active"},
                "MemorySize": 512,
                "Timeout": 30,
                "Environment": {
                    "Variables": {
                        "POWERTOOLS_SERVICE_NAME": "plain",
                        "POWERTOOLS_METRICS_NAMESPACE": "Parley",
                        "POWERTOOLS_LOG_LEVEL": "INFO",
                        "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
                        "POWERTOOLS_TRACER_CAPTURE_ERROR": "false",
                        "TABLE": "t",
                    }
                },
                "VpcConfig": Match.absent(),
                "ReservedConcurrentExecutions": Match.absent(),
                "DeadLetterConfig": Match.absent(),
            },
        )

    def test_takes_what_it_is_told(self, template: Template) -> None:
        template.has_resource_properties(
            "AWS::Lambda::Function",
            {
                "Architectures": ["x86_64"],
                "MemorySize": 1769,
                "Timeout": 60,
                "ReservedConcurrentExecutions": 3,
                "DeadLetterConfig": Match.any_value(),
                "VpcConfig": Match.any_value(),
                "Environment": {"Variables": Match.object_like({"POWERTOOLS_LOG_LEVEL": "DEBUG"})},
            },
        )
        template.has_resource_properties(
            "AWS::Lambda::EventInvokeConfig", {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
        )

    def test_keeps_its_logs_in_a_group_of_its_own(self, template: Template) -> None:
        template.has_resource(
            "AWS::Logs::LogGroup",
            {"Properties": {"RetentionInDays": 30, "KmsKeyId": Match.absent()}, "DeletionPolicy": "Retain"},
        )
        template.has_resource(
            "AWS::Logs::LogGroup",
            {"Properties": {"RetentionInDays": 7, "KmsKeyId": Match.any_value()}, "DeletionPolicy": "Delete"},
        )

    def test_starts_with_a_role_that_may_log_and_trace(self, template: Template) -> None:
        roles = template.find_resources("AWS::IAM::Role", {"Properties": {"Policies": Match.any_value()}})
        [plain] = [role["Properties"] for name, role in roles.items() if name.startswith("Plain")]

        statements = [statement for policy in plain["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
        assert {tuple(statement["Action"]) for statement in statements} == {
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            ("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
        }
        assert "ManagedPolicyArns" not in plain

    def test_in_a_vpc_may_make_its_network_interfaces(self, template: Template) -> None:
        template.has_resource_properties(
            "AWS::IAM::Role",
            {
                "Policies": Match.array_with(
                    [
                        Match.object_like(
                            {
                                "PolicyDocument": {
                                    "Statement": [
                                        Match.object_like({"Action": Match.array_with(["ec2:CreateNetworkInterface"])})
                                    ]
                                }
                            }
                        )
                    ]
                )
            },
        )
