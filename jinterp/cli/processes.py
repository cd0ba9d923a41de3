"""Several processes, each on a host of its own, that run one command together."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import click
import jax

# A process that dies, or fails and waits at its exit, ends the others within this many seconds
# each; JAX's own defaults are 100 and 300.
_SECONDS = 25


def distributed_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of a command that several processes can run together; only the first one prints."""

    @functools.wraps(command)
    def run(
        distributed: bool,
        coordinator: str | None,
        num_processes: int | None,
        process_id: int | None,
        **options: Any,
    ) -> None:
        given = coordinator, num_processes, process_id
        if not distributed:
            if any(each is not None for each in given):
                raise click.UsageError("--coordinator and its like are for --distributed.")
            command(**options)
            return
        with _own_output() as output:
            join(*given)
            with contextlib.redirect_stdout(output if is_first() else open(os.devnull, "w")):
                command(**options)

    found: Any = run
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


_OPTIONS = (
    click.option(
        "--distributed",
        is_flag=True,
        help="One of several processes; SLURM, a TPU pod, Open MPI and Kubernetes are detected.",
    ),
    click.option("--coordinator", metavar="HOST:PORT", help="Where the first process listens."),
    click.option("--num-processes", type=click.IntRange(min=1), help="How many there are."),
    click.option("--process-id", type=click.IntRange(min=0), help="Which one this is, from 0."),
)


@contextlib.contextmanager
def _own_output() -> Iterator[TextIO]:
    """The standard output for what we print; Gloo, which prints to it, has the error output."""
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        yield output


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes, or end with a usage error."""
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=_SECONDS,
            shutdown_timeout_seconds=_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise click.UsageError(
            f"--distributed: this process cannot join the others: {reason} Where the cluster is "
            "not detected, give --coordinator HOST:PORT, --num-processes and --process-id."
        ) from error


def is_first() -> bool:
    """Whether this process writes for all."""
    return jax.process_index() == 0
