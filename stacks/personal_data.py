"""Exports and deletions of what is a user's: a queue, and the function that works for as long as it takes."""

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from parley_constructs.python_function import PythonFunction
from parley_constructs.storage import Storage
from parley_constructs.work_queue import WorkQueue

from stacks.config import LOCAL, Configuration
from stacks.settings import architecture, log_retention

_TIMEOUT = Duration.minutes(15)
_DELIVERIES = 10

# A token lives for an hour; an upload whose form was signed, or a call that was taken up, in its last minute goes on
# for a quarter of an hour. The sandbox waits for nobody.
_SETTLE_SECONDS, _SETTLE_SECONDS_LOCAL = 90 * 60, 24


class PersonalDataJobs(Construct):
    """`queue` takes what is asked for, `function` does it, and `dead_letter_queue` holds what was given up."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        handler: str,
        service: str,
        environment: Mapping[str, str],
        configuration: Configuration,
        storage: Storage,
    ) -> None:
        """Make the queue and the function; what it may do is granted by whoever knows what it works on."""
        super().__init__(scope, construct_id)
        # SQS's own key: messages hold a subject and nothing that anybody wrote.
        work = WorkQueue(
            self,
            "Queue",
            function_timeout=_TIMEOUT,
            # One more than the function counts: it gives up by itself, and notes it, unless it is killed each time.
            max_receive_count=_DELIVERIES + 1,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.queue, self.dead_letter_queue = work.queue, work.dead_letter_queue
        local = configuration.environment == LOCAL
        self.function = PythonFunction(
            self,
            "Jobs",
            code=code,
            handler=handler,
            service=service,
            environment={
                **environment,
                "PERSONAL_DATA_QUEUE_URL": self.queue.queue_url,
                "DEAD_LETTER_QUEUE_URL": self.dead_letter_queue.queue_url,
                "MAX_DELIVERIES": str(_DELIVERIES),
                "SETTLE_SECONDS": str(_SETTLE_SECONDS_LOCAL if local else _SETTLE_SECONDS),
            },
            timeout=_TIMEOUT,
            memory_size=configuration.sizes.chat_memory_mb,
            architecture=architecture(configuration),
            log_retention=log_retention(configuration),
            log_removal_policy=RemovalPolicy.DESTROY,
            encryption_key=storage.encryption_key,
        )
        # A job may take all the time of an invocation.
        work.invoke(self.function, "Mapping", batch_size=1, max_concurrency=2)
