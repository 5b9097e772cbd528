"""A step as one CUDA graph: the GPU gets its hundreds of kernels by one call, where Python would be slower than they.

On a CPU there are no graphs, and all of this calls the step itself: the same code, so that tests can run it. What is
captured has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Literal

import torch
from torch import Tensor

from ccar.training.loop import Training

_ONE_AT_A_TIME = Lock()
WARM_UP = 3  # torch's own number: libraries choose their kernels and get their memory before anything is captured


def graph_of(work: Callable[[], Tensor | None], warm_up: int = WARM_UP) -> tuple[torch.cuda.CUDAGraph, Tensor | None]:
    """What `work` makes the GPU do, as one CUDA graph, and the result that each replay overwrites.

    Args:
        work: reads and writes memory that stays where it is, and does not look at results.
        warm_up: calls before it is captured. They do what `work` does: 0 where that must not happen, and it has run
            before.

    Raises:
        RuntimeError: `work` does what cannot be captured, such as waiting for the GPU.
    """
    # Not on the stream of everything else, or what that has begun would be in the graph. A thread that has another one
    # keeps it: torch deals out 32 of them in turns, and the next one may be that on which another thread works.
    current = torch.cuda.current_stream()
    side = torch.cuda.Stream() if current == torch.cuda.default_stream() else current
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(warm_up - 1):
            work()
        if warm_up:  # what waits fails here: a capture that fails leaves torch's allocator unfit for any other one
            with waits_for_the_gpu("error"):
                work()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: other threads may go on with theirs meanwhile, but for the whole GPU, as a capture does when it
    # begins, none may wait while another captures. The stream is put back also where torch, after an error, does not.
    with (
        _ONE_AT_A_TIME,
        torch.cuda.stream(side),
        torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"),
    ):
        result = work()
    return graph, result


@contextmanager
def waits_for_the_gpu(treatment: Literal["warn", "error"]) -> Iterator[None]:
    """Where the host waits for the GPU, torch warns or raises; in all threads."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(treatment)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


class Captured:
    """A function of tensors that works on memory of its own, as one CUDA graph.

    Args:
        function: from tensors to a tensor; it may change others, such as the weights of a network, where they are.
        examples: arguments of the sizes and types of all that come.
        warm_up: see `graph_of`, also for what it raises.
    """

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor, warm_up: int = WARM_UP) -> None:
        self._function = function
        self._arguments = [example.clone() for example in examples]
        self._graph = None
        if self._arguments[0].device.type == "cuda":
            self._graph, self._result = graph_of(lambda: function(*self._arguments), warm_up)

    def fits(self, *arguments: Tensor) -> bool:
        """Whether these have the sizes that were captured."""
        return all(own.shape == other.shape for own, other in zip(self._arguments, arguments, strict=True))

    def __call__(self, *arguments: Tensor) -> Tensor:
        """What the function gives for these; stays as it is when the next call comes."""
        for own, other in zip(self._arguments, arguments, strict=True):
            own.copy_(other)
        if self._graph is None:
            return self._function(*self._arguments)
        self._graph.replay()
        return self._result.clone()


class CapturedTraining(Training):
    """ccar's training with forward pass, backward pass and optimiser as one CUDA graph; the pixels are made outside.

    The graph is captured anew in each epoch but the first, which warms up: the learning rate of the epoch is a number
    in it. A batch of another size goes without. For end-to-end training without mixing, where all that is drawn is
    drawn with the pixels.
    """

    _captured: Captured | None = None

    def _train_epoch(self, epoch: int, rate: float) -> tuple[float, int]:
        self._captured = None
        return super()._train_epoch(epoch, rate)

    def _step(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        pixels, labels = self._train.batch(batch, generator), self._train.labels[batch]
        if self.epoch == 0:
            return self._step_on(pixels, labels)
        if self._captured is None:
            self._captured = Captured(self._step_on, pixels, labels, warm_up=0)
        step = self._captured if self._captured.fits(pixels, labels) else self._step_on
        return step(pixels, labels)

    def _step_on(self, pixels: Tensor, labels: Tensor) -> Tensor:
        return self._descend(self._procedure.loss(self._procedure.logits(pixels), labels))
