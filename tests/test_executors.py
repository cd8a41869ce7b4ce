"""A batch gives the same bits wherever it runs: threads, processes, a Dask cluster, with a worker lost on the way."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import astuple

import numpy as np
import pytest

from ssltheory import _kernels, ensemble, flow_to_rest, iterate_to_rest

try:
    import distributed
except ImportError:
    distributed = None

K = 1003  # prime to the number of slices: they are unequal
needs_dask = pytest.mark.skipif(distributed is None, reason="needs Dask: pip install --editable .[dask]")
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill a process")


def batch(seed=0):
    """Starts and problems that differ from trial to trial, so that a slice out of place would show."""
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(K, 2, 1)), rng.normal(size=(K, 2, 2))
    return start, {"X": rng.uniform(0.5, 2, (K, 1, 1)), "Y": rng.uniform(0.5, 1, (K, 1, 1)), "lam": 0.05}


def flow(executor=None, seed=0):
    start, problems = batch(seed)
    return flow_to_rest("ema", *start, **problems, kappa=0.1, executor=executor)


def iteration(executor=None):
    start, problems = batch()
    return iterate_to_rest("sg", *start, **problems, step=np.linspace(0.01, 0.3, K), max_steps=300, executor=executor)


@pytest.fixture(scope="module")
def alone():
    return {run: run() for run in (flow, iteration)}


def assert_same_bits(one, other):
    for ours, theirs in zip(astuple(one), astuple(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as workers,
        distributed.Client(workers) as client,
    ):
        yield client


class Held(Executor):
    """Hand slices on to another executor, and hold one of them: the worker that begins it first waits to be killed."""

    def __init__(self, executor, mark, held):
        self.executor, self.mark, self.held, self.sizes = executor, mark, held, []

    def submit(self, work, *slice_, **options):
        self.sizes.append(len(slice_[3]))
        if len(self.sizes) - 1 != self.held:
            return self.executor.submit(work, *slice_, **options)
        return self.executor.submit(wait_to_be_killed, self.mark, work, *slice_)


def wait_to_be_killed(mark, work, *slice_):
    try:
        with mark.open("x") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        return work(*slice_)
    time.sleep(30)
    raise AssertionError("nobody killed this worker")


def kill(mark):
    """Kill the worker that waits; return its process id."""
    limit = time.monotonic() + 30
    while not (mark.exists() and mark.read_text().endswith("\n")):
        assert time.monotonic() < limit, "no worker has begun the slice"
        time.sleep(0.01)
    pid = int(mark.read_text())
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    return pid


# ------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("run", [flow, iteration])
def test_threads_and_fresh_processes_give_the_same_bits(run, alone, processes, tmp_path):
    with ThreadPoolExecutor(3) as threads:
        counted = Held(threads, tmp_path / "none", held=-1)
        assert_same_bits(run(counted), alone[run])
        assert len(counted.sizes) > 3
        assert len(set(counted.sizes)) == 2
    assert_same_bits(run(processes), alone[run])


@needs_dask
@pytest.mark.parametrize("run", [flow, iteration])
def test_a_dask_cluster_gives_the_same_bits(run, alone, cluster, tmp_path):
    counted = Held(cluster.get_executor(), tmp_path / "none", held=-1)
    assert_same_bits(run(counted), alone[run])
    assert len(set(counted.sizes)) == 2
    # The workers are processes of their own, and their threads share one kernel.
    assert os.getpid() not in cluster.run(os.getpid).values()
    assert all(count <= 1 for count in cluster.run(count_compiled).values())


def count_compiled():
    return len(_kernels.flow_kernel(_kernels.EMA, 2, 1).signatures)


@needs_dask
@needs_kill
@pytest.mark.timeout(90)
@pytest.mark.parametrize("held", [0, 7])
def test_a_dask_worker_lost_in_the_middle_changes_nothing(held, alone, cluster, tmp_path):
    mark = tmp_path / "begun"
    executor = Held(cluster.get_executor(pure=False), mark, held)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(flow, executor)
        lost = kill(mark)
        assert not run.done()
        result = run.result()
    assert_same_bits(result, alone[flow])
    assert lost not in cluster.run(os.getpid).values()


# ------------------------------------------------------------------------------------------- what goes wrong


@needs_kill
@pytest.mark.timeout(60)
def test_a_process_pool_that_lost_a_process_says_so(tmp_path):
    mark = tmp_path / "begun"
    with ThreadPoolExecutor(1) as thread, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        run = thread.submit(flow, Held(pool, mark, held=2))
        kill(mark)
        with pytest.raises(BrokenExecutor, match=r"broke off with 2 of \d+ slices done .*Run the batch again"):
            run.result()


class Failing(Executor):
    """Keep the slices, end the first by what is given."""

    def __init__(self, end):
        self.end, self.futures = end, []

    def submit(self, work, *slice_, **options):
        self.futures.append(Future())
        if len(self.futures) == 1:
            self.end(self.futures[0])
        return self.futures[-1]


def test_when_a_slice_fails_the_others_are_called_off():
    executor = Failing(lambda future: future.set_exception(MemoryError("a slice too large")))
    with pytest.raises(MemoryError, match="too large"):
        flow(executor)
    assert len(executor.futures) > 3
    assert all(future.cancelled() for future in executor.futures[1:])


def test_a_cluster_that_went_away_is_no_bare_cancellation():
    with pytest.raises(BrokenExecutor, match=r"0 of \d+ slices done \(CancelledError"):
        flow(Failing(Future.cancel))


class Client:
    """What Dask's client looks like from here."""

    def get_executor(self):
        raise AssertionError("not asked for")


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        (2, "Executor; got int$"),
        (ThreadPoolExecutor, "Executor; got type$"),
        (Client(), r"got Client; a Dask client gives one: client.get_executor\(\)"),
    ],
)
@pytest.mark.parametrize("run", [flow, iteration])
def test_what_is_no_executor_is_refused(run, executor, words):
    with pytest.raises(ValueError, match=words):
        run(executor)


# ------------------------------------------------------------------------------------------- kernels in workers


def test_threads_that_meet_at_a_new_kernel_make_one(monkeypatch):
    made = []
    monkeypatch.setattr(_kernels, "field_part", lambda *size: made.append(size) or time.sleep(0.05) or (lambda *_: 0.0))
    together = threading.Barrier(4)

    def ask():
        together.wait()
        return _kernels.iteration_kernel(_kernels.SG, 97, 1)

    with ThreadPoolExecutor(4) as threads:
        kernels = {id(future.result()) for future in [threads.submit(ask) for _ in range(4)]}
    assert len(kernels) == len(made) == 1


def test_read_only_slices_as_memory_maps_give_them_need_no_kernel_of_their_own():
    start, problems = batch()
    checked = ensemble._Batch.of("sg", *start, None, **problems, Z=None)
    arrays = [checked.states, checked.X, checked.Y, checked.Z, checked.lam, np.zeros(K)]
    limits = (1e-9, 1e-5, 1e-8, 1000, np.inf)
    plain = ensemble._flow_slice("sg", 2, 1, arrays[0], arrays[1:], limits)
    compiled = len(_kernels.flow_kernel(_kernels.SG, 2, 1).signatures)
    for array in arrays:
        array.flags.writeable = False
    again = ensemble._flow_slice("sg", 2, 1, arrays[0], arrays[1:], limits)
    assert len(_kernels.flow_kernel(_kernels.SG, 2, 1).signatures) == compiled
    np.testing.assert_array_equal(plain[0], again[0])
