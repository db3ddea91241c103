"""What the Lambda service hands to a handler beside the event."""


class Context:
    """What handlers read of the Lambda context."""

    function_name = "benchmark"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:benchmark"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        """A whole HTTP turn's time."""
        return 29_000
