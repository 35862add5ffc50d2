"""What a training loop reports while it runs; where it goes is the caller's choice."""

from typing import Protocol


class Progress(Protocol):
    """Receives a loop's progress."""

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None:
        """Epoch `epoch` of `epochs`, counted from 1, over so many images."""

    def advanced(self, images: int, loss: float, accuracy: float | None = None) -> None:
        """So many more images were seen; running means of this epoch, the accuracy where the loop knows it."""

    def epoch_ended(self, values: dict[str, float]) -> None:
        """The epoch's values: loss, accuracy (0-1), images_per_second and what else the loop measured."""


class Silent:
    """Progress that nobody watches."""

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None: ...

    def advanced(self, images: int, loss: float, accuracy: float | None = None) -> None: ...

    def epoch_ended(self, values: dict[str, float]) -> None: ...
