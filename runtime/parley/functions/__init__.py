"""Lambda entry points."""

import gc

# A cold start makes some 200,000 objects that live as long as the process, and the garbage collector would go through
# them again and again: a quarter of the time to the first answer. So it pauses until `telemetry.instrument` has seen
# the first invocation end. It is the one thing that importing does beyond defining, and it stands here because
# everything imported later profits from it.
gc.disable()
