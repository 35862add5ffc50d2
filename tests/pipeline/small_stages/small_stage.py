"""A stage whose program lies beside the tests."""

from moist.runtime.stage import Stage


class SmallStage(Stage):
    """As any stage, but run as `python -m small_stages.<stage>.program`."""

    @property
    def module(self) -> str:
        return f"small_stages.{self.name}.program"
