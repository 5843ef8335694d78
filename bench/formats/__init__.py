"""The files that go out, read by those for whom they are: TRL and `datasets`, in an environment of their own."""
