"""A function's first invocation, as the Lambda service makes it: import the handler, call it, look at the clock.

Usage: probe MODULE < EVENT. Prints `time.monotonic()` at the answer; fails when the answer is an error.
"""

import importlib
import json
import sys
import time

from benchmarks.processes.lambda_context import Context

event = json.load(sys.stdin)
answer = importlib.import_module(sys.argv[1]).handler(event, Context())
answered = time.monotonic()
if answer["statusCode"] >= 400:
    sys.exit(f"{sys.argv[1]} answered {answer['statusCode']}: {answer['body']}")
print(answered)
