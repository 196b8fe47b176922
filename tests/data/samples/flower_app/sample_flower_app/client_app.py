"""The client: it trains on its partition."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from sample_flower_app.task import Net, load_data
from sample_flower_app.task import train as train_net

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    model, node, run = Net(), context.node_config, context.run_config
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loader, _ = load_data(node["partition-id"], node["num-partitions"], run["batch-size"])
    train_net(model, loader, run["local-epochs"], message.content["config"]["lr"])
    metrics = MetricRecord({"num-examples": len(loader.dataset)})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)
