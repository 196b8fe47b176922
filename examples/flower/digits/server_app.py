"""The server. Without `Defended`, this is a plain Flower server."""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from antivenom.integrations.flower import Defended
from digits.data import test_rows
from digits.model import accuracy, initial

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train the model, and write its accuracy after each round."""
    config, rows = context.run_config, test_rows()
    results = Path(str(config["results"])) if config["results"] else None

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        return MetricRecord({"accuracy": accuracy(arrays.to_numpy_ndarrays(), *rows)})

    nodes = int(config["nodes"])  # Flower counts the share of nodes to ask before it waits for enough of them
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    strategy = Defended(strategy, log=results and results / "rounds.jsonl", state=results and results / "state")
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(initial()),
        num_rounds=int(config["num-server-rounds"]),
        timeout=float(config["round-timeout"]),
        evaluate_fn=evaluate,
    )
    found = {number: metrics["accuracy"] for number, metrics in result.evaluate_metrics_serverapp.items()}
    print("accuracy after each round:", json.dumps(found), flush=True)
    if results:
        (results / "accuracy.json").write_text(json.dumps(found))
