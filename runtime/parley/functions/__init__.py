"""Lambda entry points."""

import gc

# A cold start makes some 200,000 objects that live as long as the process. Python's default threshold sends the
# garbage collector through all of them again and again: a quarter of the time to the first answer. This is the one
# thing that importing does beyond defining, and it stands here because everything imported later profits from it.
gc.set_threshold(50_000, 20, 50)
