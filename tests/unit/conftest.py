from hypothesis import settings

# A busy machine is no failure: no example is too slow.
settings.register_profile("parley", deadline=None)
settings.load_profile("parley")
