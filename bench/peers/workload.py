"""The work that every recorder gets: one call a client update, eight metrics, 100 clients in turn."""

NUM_CLIENTS = 100


def client_of(call: int) -> str:
    return f"client_{call % NUM_CLIENTS:03d}"


def round_of(call: int) -> int:
    return call // NUM_CLIENTS


def metrics_of(call: int) -> dict[str, float]:
    wobble = (call * 7919 % 10007) / 10007
    return {
        "local_accuracy": 0.5 + wobble / 2,
        "local_loss": 1.2 - wobble,
        "gradient_norm": 1.0 + wobble * 3,
        "num_samples": 500 + call % 97,
        "bytes_sent": 1_000_000 + call,
        "bytes_received": 1_100_000 + call,
        "train_time_sec": 2.0 + wobble,
        "cpu_pct": 50.0 + wobble * 10,
    }
