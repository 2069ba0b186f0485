"""One process: HiveWatch's workload of rounds and client updates, through HiveWatch or through Fedsight; prints JSON.

`python rounds.py hivewatch|fedsight EMITTERS ROUNDS CLIENTS BUDGET_SEC`, in an empty folder. EMITTERS: names joined by "+", of
file, mlflow (and for Fedsight tensorboard, prometheus, hooks); stops after BUDGET_SEC of logging, and says how far it got.
"""

import importlib
import json
import math
import resource
import sys
import time
from pathlib import Path

CITIES = [("Chicago", "US", 41.88, -87.63), ("London", "GB", 51.51, -0.13), ("Tokyo", "JP", 35.68, 139.69)]


def fields_of(round_, client):
    """14 fields of the metadata contract, round and base round included."""
    city, country, lat, lng = CITIES[client % 3]
    return {
        "round": round_,
        "base_round": max(0, round_ - client % 3),
        "local_accuracy": 1 - 0.7 * math.exp(-(round_ + 1) / 50) - client % 10 / 500,
        "local_loss": 2.3 * math.exp(-(round_ + 1) / 60) + client % 10 / 300,
        "num_samples": 500 + client,
        "gradient_norm": 1 + client % 17 / 100 + 1 / (round_ + 1),
        "bytes_sent": 1_000_000 + client,
        "bytes_received": 1_100_000 + client,
        "train_time_sec": 2 + client % 7 / 10,
        "cpu_pct": 40.0 + client % 50,
        "ram_mb": 800.0 + client,
        "lat": lat,
        "lng": lng,
        "city": city,
        "country": country,
    }


class Hooks:
    """A custom emitter that does next to nothing."""

    def on_round(self, summary, clients):
        self.last = summary.round


def emitters_of(package, names):
    found = []
    emitters = importlib.import_module(f"{package}.emitters")
    for name in names:
        if name == "file":
            if package == "hivewatch":
                found.append(getattr(emitters, "GeoEmitter", None)(serve_map=False))
        elif name == "mlflow":
            found.append(emitters.MLflowEmitter(tracking_uri="sqlite:///mlflow.db", experiment="bench"))
        elif name == "tensorboard":
            found.append(emitters.TensorBoardEmitter())
        elif name == "prometheus":
            found.append(emitters.PrometheusEmitter(port=0))
        elif name == "hooks":
            found.append(Hooks())
    return found


def rss_mb():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def written_bytes():
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def main():
    package, names, rounds, clients, budget = (
        sys.argv[1],
        sys.argv[2].split("+"),
        int(sys.argv[3]),
        int(sys.argv[4]),
        float(sys.argv[5]),
    )
    watch = importlib.import_module(package)
    watch.init(run_id="bench", emitters=emitters_of(package, names), verbose=False)
    rss_before_mb, written_before = rss_mb(), written_bytes()
    clock, cpu = time.perf_counter, time.thread_time
    logging_sec, logging_cpu_sec = [], []  # of the calling thread, a round
    num_updates = 0
    done = 0
    for round_ in range(rounds):
        work = [(f"client_{client:04d}", fields_of(round_, client)) for client in range(clients)]
        start, start_cpu = clock(), cpu()
        watch.round_start(round_)
        for client_id, fields in work:
            watch.log_client_update(client_id, **fields)
            num_updates += 1
            if clock() - start > budget:  # a single round may take longer than there is time
                break
        watch.log_round(round_, global_accuracy=0.5, global_loss=1.0, num_selected=clients, aggregation_time_sec=0.05)
        logging_sec.append(clock() - start)
        logging_cpu_sec.append(cpu() - start_cpu)
        done += 1
        if sum(logging_sec) > budget:
            break
    last = logging_sec[-10:] if done >= 20 else logging_sec[-1:]
    rss_end_mb = rss_mb()
    start = clock()
    watch.finish()
    files = [path for path in Path().rglob("*") if path.is_file()]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "rounds": done,
                "updates": num_updates,
                "updates_per_sec": num_updates / sum(logging_sec),
                "first_round_sec": logging_sec[0],
                "median_round_sec": percentile(logging_sec, 0.5),
                "last_round_sec": sum(last) / len(last),
                "cpu_us_per_update": sum(logging_cpu_sec) / num_updates * 1e6,
                "finish_sec": clock() - start,
                "rss_growth_mb": rss_end_mb - rss_before_mb,
                "peak_rss_mb": usage.ru_maxrss / 1024,
                "process_cpu_sec": usage.ru_utime + usage.ru_stime,
                "disk_mb": sum(path.stat().st_size for path in files) / 1e6,
                "written_mb": (written_bytes() - written_before) / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
