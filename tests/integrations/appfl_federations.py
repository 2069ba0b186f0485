"""Federations of APPFL's own server agent, each recorded by one `watch`. Run as: appfl_federations.py FOLDER."""

import os
import socket
import sys
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import appfl_stand_ins  # noqa: F401 - before anything of APPFL
import numpy as np
from appfl.agent import ServerAgent
from appfl.comm.grpc import GRPCClientCommunicator, GRPCServerCommunicator, serve
from omegaconf import OmegaConf

from fedsight.integrations.appfl import watch

HERE = Path(__file__).parent
FOLDER = Path(sys.argv[1])
MODEL = {"weights": np.ones(1000, dtype=np.float32)}


def a_server(scheduler, num_clients, num_rounds, *, kind=ServerAgent, **scheduler_kwargs):
    """A server agent with one of APPFL's schedulers."""
    config = {
        "client_configs": {"train_configs": {"optim_args": {"lr": 0.1, "betas": [0.9, 0.99]}}},
        "server_configs": {
            "num_clients": num_clients,
            "num_global_epochs": num_rounds,
            "scheduler": scheduler,
            "scheduler_kwargs": scheduler_kwargs,
            "aggregator": "NumpyMean",
            "aggregator_path": str(HERE / "appfl_numpy_mean.py"),
            "logging_output_dirname": str(FOLDER / "appfl"),
        },
    }
    return kind(OmegaConf.create(config))


def watched(server, name, **more):
    """Its run, and nothing else of ours."""
    return watch(server, run_id=name, runs_dir=FOLDER, verbose=False, **more)


def wait_until(holds):
    """Returns when it holds; after 30 s the test fails."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_thread(pool, client, name):
    """The client, which takes the whole federation down with it if it fails."""

    def guarded():
        try:
            client(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    return pool.submit(guarded)


def synchronous_over_grpc():
    """Two clients over real sockets. Client b sends only when a's update is in the journal, while a's call blocks."""
    server = a_server("SyncScheduler", 2, 3)
    run = watched(server, "sync")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"127.0.0.1:{probe.getsockname()[1]}"

    def num_recorded_of_a():
        return sum('"client_id":"a"' in line and "bytes_sent" in line for line in run.path.read_text().splitlines())

    def a_client(name):
        client = GRPCClientCommunicator(name, server_uri=uri, use_ssl=False, max_message_size=1 << 20)
        client.get_configuration()
        client.get_global_model()
        for round in range(3):
            if name == "b":
                wait_until(lambda sent=round + 1: num_recorded_of_a() == sent)
            metadata = {"round": round + 1, "val_accuracy": 0.5 + 0.125 * round, "val_loss": float("nan")}
            client.update_global_model(MODEL, **metadata, pre_val_loss=2.5, note="fine")
        client.invoke_custom_action(action="close_connection")

    with ThreadPoolExecutor(2) as pool:
        clients = [in_thread(pool, a_client, name) for name in "ab"]
        sys.modules["appfl.comm.grpc.serve"].time = Hurried()
        serve(GRPCServerCommunicator(server, max_message_size=1 << 20), server_uri=uri, max_message_size=1 << 20)
        for client in clients:
            client.result()


class Hurried:
    """`time` for APPFL's `serve`, which sleeps ten seconds before it stops."""

    @staticmethod
    def sleep(seconds):
        """A fiftieth of it."""
        time.sleep(seconds / 50)


def asynchronous():
    """Four clients at once, ten updates each; then one more, when the training is over."""
    server = a_server("AsyncScheduler", 4, 40)
    run = watched(server, "async")
    barrier = threading.Barrier(4)

    def a_client(name):
        server.get_parameters(client_id=name, init_model=False)
        barrier.wait()
        for _ in range(10):
            server.global_update(name, MODEL, blocking=True, val_loss=0.5)

    with ThreadPoolExecutor(4) as pool:
        for done in [in_thread(pool, a_client, name) for name in range(4)]:
            done.result()
    server.global_update(3, MODEL, blocking=True)
    run.log_text(f"aggregated {[clients[0] for clients, _ in server.aggregator.calls]}")
    server.clean_up()


def grouped():
    """FedCompass: a client's first update is aggregated alone, later ones with those of its group.

    From one thread, nothing blocking: with clients that come just when a group's timer fires, FedCompass may leave one
    of them waiting for ever, watched or not.
    """
    steps = {"max_local_steps": 4, "min_local_steps": 1, "speed_momentum": 0.9, "latest_time_factor": 1000}
    server = a_server("CompassScheduler", 2, 100, **steps)
    run = watched(server, "compass", anonymize="a key")
    answers = {}
    for name in "abababab":
        if name not in answers or not isinstance(answers[name], Future) or answers[name].done():
            answers[name] = server.global_update(name, MODEL)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):  # some of FedCompass's outlive its clean_up
            thread.cancel()
            thread.join()
    run.log_text(f"aggregated {[len(clients) for clients, _ in server.aggregator.calls]}")
    server.clean_up()


def timed():
    """FedQueue: one of two clients sends, and the scheduler's timer closes the round from a thread of its own."""
    server = a_server("QueueScheduler", 2, 1, t_sync=0.2, theta=0.0)
    watched(server, "queue")
    server.global_update("a", MODEL, blocking=True, queue_time=0.0, compute_second_per_step=0.1)
    server.clean_up()


def evaluated():
    """A serial loop: nothing blocks, and the server evaluates the global model after each round."""

    class Evaluating(ServerAgent):
        """A server with an evaluation of its own."""

        def server_validate(self):
            """Loss and accuracy."""
            return 0.25, 0.75

    server = a_server("SyncScheduler", 2, 2, kind=Evaluating)
    watched(server, "serial")
    server.get_parameters(serial_run=True)
    server.server_validate()
    for _ in range(2):
        for name in "ab":
            server.global_update(name, MODEL, val_accuracy=0.5)
        server.server_validate()
    server.clean_up()


def in_parts():
    """A model in two parts, as the gRPC communicator passes it with use_model_chunking."""
    server = a_server("SyncScheduler", 2, 1)
    watched(server, "parts")
    for part in range(2):
        for name in "ab":
            server.global_update(name, MODEL, _chunk_idx=part, _total_chunks=2, _chunk_keys=["weights"], val_loss=0.5)
    server.clean_up()


def failing():
    """A broken aggregator at first, and a model that can't be read."""
    server = a_server("SyncScheduler", 1, 2)
    watched(server, "failing")
    for model, is_broken in ((b"no model", False), (MODEL, True), (MODEL, False)):
        server.aggregator.is_broken = is_broken
        try:
            server.global_update("a", model)
        except Exception as error:
            print(f"The caller gets {error!r}")
    server.clean_up()


def not_recorded():
    """The run is finished while the training goes on."""
    server = a_server("SyncScheduler", 1, 3)
    run = watched(server, "ended")
    for round in range(3):
        server.global_update("a", MODEL, blocking=True)
        if round == 0:
            run.finish()
    assert server.training_finished()
    server.clean_up()


for federation in (synchronous_over_grpc, asynchronous, grouped, timed, evaluated, in_parts, failing, not_recorded):
    federation()
