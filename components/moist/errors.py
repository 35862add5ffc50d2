"""The errors a user can cause or meet: each is one sentence, and each kind has its own exit code."""


class MoistError(Exception):
    """An error whose message is written for the user: the thing, its value, what is allowed, what to do."""

    exit_code = 1


class InputError(MoistError):
    """A setting, a file or a data set that cannot be used as it is."""

    exit_code = 2


class DamagedArtifactError(MoistError):
    """An artifact that is missing, truncated, changed since it was written, or of another kind than expected."""

    exit_code = 3


class StoreError(MoistError):
    """The object store cannot be reached, refuses the credentials, or lost an object."""

    exit_code = 4


class DivergedError(MoistError):
    """Training met a loss that is not finite."""

    exit_code = 5


class DiskFullError(MoistError):
    """There is no room left to write an output."""

    exit_code = 6
