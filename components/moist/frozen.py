"""The base of what is written down and passed on: settings of networks, results, comparisons."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that is never changed, and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
