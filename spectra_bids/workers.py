"""Who does the work: one function over many items, in this process, in several, or on a Dask cluster.

    map_unordered(function, items, Workers(...)) -> (position of the item, result), as they are done

An item is a subject at participant level and a bundle at group level. Its job is idempotent and writes its files
atomically: one that died with its worker is done again elsewhere. Where there can be no other process (in a
container whose /dev/shm cannot be written), this one does all. The only module that imports distributed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from spectra_bids import __version__
from spectra_bids.errors import MissingInputError, TemporaryError, UsageError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("spectra_bids")

T = TypeVar("T")
R = TypeVar("R")

#: distributed runs a worker's tasks in threads; matplotlib and the working directory bear one at a time.
_ALONE = threading.Lock()
#: How long a scheduler may take to answer.
TIMEOUT = "20s"
_AGAIN = "Run the same command again: what is done is kept"


@dataclass(frozen=True)
class Workers:
    """`n` processes of this machine with `threads` BLAS threads each; those of a Dask scheduler if one is named."""

    n: int = 1
    threads: int = 1
    dask_scheduler: str = ""


def map_unordered(
    function: Callable[[T], R], items: Iterable[T], workers: Workers
) -> Generator[tuple[int, R], None, None]:
    """Yield (position, result) of every item as it is done.

    Close the iterator to stop early: what is running ends, what is waiting is never begun.

    Parameters
    ----------
    function : callable of one item
        Of the top level of a module, or a partial of one: other processes must find it.
    items : iterable
        Taken one at a time in this process; all at once by others.
    workers : Workers

    Raises
    ------
    TemporaryError
        A worker process was killed (in this machine's pool), or the cluster was lost.
    Exception
        Whatever the function raises ends the work.

    """
    if workers.dask_scheduler:
        return _on_cluster(function, items, workers.dask_scheduler)
    if workers.n > 1:
        items = list(items)
        if len(items) > 1:
            return _in_pool(function, items, min(workers.n, len(items)), workers.threads)
    return _alone(function, items)


def _alone(function: Callable[[T], R], items: Iterable[T]) -> Generator[tuple[int, R], None, None]:
    """Work of this process, one item after the other."""
    return ((position, function(item)) for position, item in enumerate(items))


def _in_pool(
    function: Callable[[T], R], items: Iterable[T], n: int, threads: int
) -> Generator[tuple[int, R], None, None]:
    """Work of `n` processes; whatever ends the loop early ends them too. Of this process, if there can be no others."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # read by the workers' BLAS when they start
    try:
        executor = ProcessPoolExecutor(n, mp_context=get_context("spawn"))  # R and BLAS are not fork-safe
    except (OSError, NotImplementedError) as error:  # semaphores: their folder cannot be written; there are none
        log.warning(
            "one process does the work of %d: several need semaphores, which on Linux are files in /dev/shm (%s). Let "
            "it be written, or give --n-procs 1",
            n,
            getattr(error, "strerror", None) or error,
        )
        yield from _alone(function, items)
        return
    with executor as pool:
        jobs = {pool.submit(function, item): position for position, item in enumerate(items)}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise TemporaryError(
                "a worker process was killed, most often because the memory was used up",
                "Give more memory or a smaller --n-procs, and run the same command again: what is done is kept",
            ) from error
        except BaseException:
            # Without this, leaving the block would wait for every item that is still queued or running. Items are
            # written so that being killed does them no harm.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _on_cluster(function: Callable[[T], R], items: Iterable[T], address: str) -> Generator[tuple[int, R], None, None]:
    """Work of a Dask cluster, which gives the items of a worker that died to another."""
    with _connected(address) as client:
        from distributed import KilledWorker, as_completed

        if not client.scheduler_info(n_workers=-1)["workers"]:
            log.warning("--dask-scheduler %s has no worker yet; waiting for one", address)
        job = partial(in_worker, function, os.getcwd(), __version__)
        positions = {client.submit(job, item, pure=False): position for position, item in enumerate(items)}
        try:
            for future, result in as_completed(list(positions), loop=client.loop, with_results=True):
                if future.status != "finished":  # a scheduler that goes away gives CancelledError as the result
                    raise TemporaryError(f"--dask-scheduler {address}: the scheduler was lost", _AGAIN)
                yield positions.pop(future), result
        except KilledWorker as error:
            raise TemporaryError(
                f"--dask-scheduler {address}: several workers died over the same item, most often because the memory "
                "was used up",
                f"Give the workers more memory. {_AGAIN}",
            ) from error
        except RuntimeError as error:
            if "deserialization" not in str(error):
                raise
            raise UsageError(
                f"--dask-scheduler {address}: the cluster cannot load the work: {error.__cause__ or error}",
                "Install the same version of spectra-bids where its scheduler and workers run",
            ) from error
        finally:
            client.cancel(list(positions), force=True)


def _connected(address: str) -> Client:
    """A client of the scheduler.

    Raises
    ------
    MissingInputError
        distributed is not installed.
    UsageError
        That is no address.
    TemporaryError
        Nobody answers there.

    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingInputError(
            "--dask-scheduler needs the package distributed, which is not installed",
            "Install it here and where the workers run: pip install 'spectra-bids[dask]'",
        ) from error
    try:
        return Client(address, set_as_default=False, timeout=TIMEOUT)
    except ValueError as error:
        raise UsageError(f"--dask-scheduler takes an address such as tcp://host:8786. Got {address!r}") from error
    except (OSError, TimeoutError) as error:
        raise TemporaryError(
            f"--dask-scheduler {address}: no scheduler answers there", "Start it, run again"
        ) from error


def in_worker(function: Callable[[T], R], folder: str, version: str, item: T) -> R:
    """One item in a cluster's worker: relative paths mean what they mean to the one who asked."""
    if version != __version__:
        raise UsageError(
            f"a Dask worker has spectra-bids {__version__}, but {version} asked for the work",
            "Install the same version everywhere",
        )
    with _ALONE:
        before = os.getcwd()
        try:
            os.chdir(folder)
        except OSError as error:
            raise MissingInputError(
                f"a Dask worker does not see the folder {folder}",
                "Workers must share the file system under the same paths",
            ) from error
        try:
            return function(item)
        finally:
            os.chdir(before)
