"""Libraries for networks."""

from __future__ import annotations

import functools
import json
from typing import Any

Objects = dict[str, Any]


def small() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def trained(kind: Any, **options: Any) -> tuple[Any, Any]:
    """A model after a step of an optimiser, and the optimiser."""
    import torch

    model = small()
    optimiser = kind(model.parameters(), **options)
    model(torch.ones(3, 4)).sum().backward()
    optimiser.step()
    return model, optimiser


def torch() -> Objects:
    import torch as t
    from torch import nn, optim
    from torch.optim import lr_scheduler as schedulers
    from torch.utils.data import DataLoader, Subset, TensorDataset

    model, adam = trained(optim.AdamW, lr=0.1)
    _, sgd = trained(optim.SGD, lr=0.1, momentum=0.9)
    rows = TensorDataset(t.ones(6, 4), t.zeros(6))
    warmed = schedulers.SequentialLR(sgd, [schedulers.LinearLR(sgd), schedulers.CosineAnnealingLR(sgd, 5)], [2])
    with t.device("cpu"):
        quantised = t.quantize_per_tensor(t.ones(3), 0.1, 0, t.quint8)
    lstm = nn.LSTM(4, 3)
    return {
        "state.pt": lambda: model.state_dict(),
        "legacy.pt": lambda path: t.save(model.state_dict(), path, _use_new_zipfile_serialization=False),
        "checkpoint.pt": lambda: {
            "model": model.state_dict(),
            "optimizer": adam.state_dict(),
            "epoch": 3,
            "loss": t.tensor(0.5),
        },
        "whole.pt": lambda: model,
        "optimiser.pt": lambda: adam,
        "sgd.pkl": lambda: sgd,
        "scheduler.pt": lambda: schedulers.StepLR(adam, 2),
        "schedulers.pt": lambda: warmed.state_dict(),
        "plateau.pt": lambda: schedulers.ReduceLROnPlateau(sgd),
        "rows.pt": lambda: rows,
        "subset.pt": lambda: Subset(rows, [0, 2]),
        "loader.pt": lambda: DataLoader(rows, 2),
        "quantised.pt": lambda: quantised,
        "dtypes.pt": lambda: {
            "a": t.quint8,
            "b": t.float8_e4m3fn,
            "layout": t.strided,
            "device": t.device("cpu"),
            "size": t.Size([2]),
        },
        "random.pt": lambda: {"rng": t.get_rng_state(), "generator": t.Generator().get_state()},
        "sparse.pt": lambda: t.eye(3).to_sparse(),
        "lstm.pt": lambda: lstm,
        "script.pt": lambda path: t.jit.script(nn.Linear(2, 2)).save(str(path)),
        "export.pt2": lambda path: t.export.save(t.export.export(nn.Linear(2, 2), (t.ones(1, 2),)), path),
        "distribution.pt": lambda: t.distributions.Normal(t.zeros(2), t.ones(2)),
    }


def torchvision() -> Objects:
    from torchvision import models, transforms
    from torchvision.transforms import v2

    steps = transforms.Compose([transforms.Resize(8), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    return {
        "squeeze.pt": lambda: models.squeezenet1_1().state_dict(),
        "shuffle.pth": lambda: models.shufflenet_v2_x0_5(),
        "mobile.pt": lambda: models.mobilenet_v3_small(),
        "resnet.pt": lambda: models.resnet18(num_classes=2),
        "transforms.pt": lambda: steps,
        "transforms.pkl": lambda: transforms.RandomHorizontalFlip(),
        "v2.pt": lambda: v2.Compose([v2.RandomResizedCrop(8), v2.ColorJitter(0.1)]),
        "bundle.pt": lambda: {"model": models.squeezenet1_1().state_dict(), "transform": steps, "classes": ["a", "b"]},
    }


def timm() -> Objects:
    import timm as ti
    from timm.data import create_transform, resolve_data_config
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    def model(name: str) -> Any:
        return ti.create_model(name, num_classes=3)

    optimiser = create_optimizer_v2(small(), "adamw", lr=0.1)
    return {
        "state.pth": lambda: model("resnet10t").state_dict(),
        "resnet.pt": lambda: model("resnet10t"),
        "vit.pt": lambda: ti.create_model("test_vit"),
        "efficient.pt": lambda: ti.create_model("test_efficientnet"),
        "transform.pt": lambda: create_transform(**resolve_data_config({}, model=model("resnet10t"))),
        "scheduler.pt": lambda: CosineLRScheduler(optimiser, 5).state_dict(),
        "checkpoint.pth.tar": lambda path: __import__("torch").save(
            {
                "epoch": 1,
                "arch": "resnet10t",
                "state_dict": model("resnet10t").state_dict(),
                "optimizer": optimiser.state_dict(),
                "args": {"lr": 0.1},
            },
            path,
        ),
    }


def tiny_bert() -> Any:
    from transformers import BertConfig

    return BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)


def transformers() -> Objects:
    import torch as t
    import transformers as tr

    config = tiny_bert()
    llama = tr.LlamaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    arguments = tr.TrainingArguments("out", report_to=[], use_cpu=True)
    tokenizer = tr.PreTrainedTokenizerFast(tokenizer_object=words(), unk_token="[U]", pad_token="[U]")

    def folder(thing: Any, path: Any) -> None:
        thing.save_pretrained(path)

    return {
        "training_args.bin": lambda: arguments,
        "seq2seq_args.bin": lambda: tr.Seq2SeqTrainingArguments("out", report_to=[], use_cpu=True),
        "bert": functools.partial(folder, tr.BertModel(config)),
        "llama": functools.partial(folder, tr.LlamaForCausalLM(llama)),
        "tokenizer": functools.partial(folder, tokenizer),
        "generation": functools.partial(folder, tr.GenerationConfig(max_new_tokens=3)),
        "image": functools.partial(folder, tr.ViTImageProcessor()),
        "config.pkl": lambda: config,
        "whole.pt": lambda: tr.BertModel(config),
        "pytorch_model.bin": lambda: tr.BertModel(config).state_dict(),
        "tokenizer.pkl": lambda: tokenizer,
        "encoding.pt": lambda: tokenizer("a b", return_tensors="pt"),
        "output.pt": lambda: tr.BertModel(config)(input_ids=t.ones(1, 3, dtype=t.long)),
        "checkpoint.pt": lambda: {"args": arguments, "model": tr.BertModel(config).state_dict()},
        "bits.json": lambda path: tr.BitsAndBytesConfig(load_in_8bit=True).to_json_file(path),
        "trainer_state.json": lambda path: tr.TrainerState(epoch=1.0).save_to_json(str(path)),
    }


def words() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    found = Tokenizer(models.WordLevel({"[U]": 0, "a": 1, "b": 2}, "[U]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return found


def peft() -> Objects:
    import peft as pf
    from transformers import BertModel

    def adapted(config: Any) -> Any:
        return pf.get_peft_model(BertModel(tiny_bert()), config)

    lora = pf.LoraConfig(r=2, target_modules=["query", "value"])
    return {
        "lora": lambda path: adapted(lora).save_pretrained(path),
        "bin": lambda path: adapted(lora).save_pretrained(path, safe_serialization=False),
        "ia3": lambda path: adapted(pf.IA3Config(target_modules=["query"], feedforward_modules=[])).save_pretrained(
            path
        ),
        "config.pkl": lambda: lora,
        "whole.pt": lambda: adapted(lora),
        "state.pt": lambda: pf.get_peft_model_state_dict(adapted(lora)),
    }


def lightning() -> Objects:
    import lightning as li
    import torch as t
    from lightning.pytorch.demos import boring_classes
    from torch.utils.data import DataLoader, TensorDataset

    def checkpoint(path: Any, **options: Any) -> None:
        trainer = li.Trainer(
            max_epochs=1,
            limit_train_batches=2,
            limit_val_batches=1,
            logger=False,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=bool(options),
            **options,
        )
        trainer.fit(boring_classes.BoringModel())
        trainer.save_checkpoint(path)

    return {
        "plain.ckpt": checkpoint,
        "early.ckpt": lambda path: checkpoint(
            path, callbacks=[li.pytorch.callbacks.ModelCheckpoint(dirpath=path.parent / "kept")]
        ),
        "parameters.ckpt": lambda: {
            "state_dict": small().state_dict(),
            "hyper_parameters": li.pytorch.core.mixins.hparams_mixin.AttributeDict(lr=0.1),
            "epoch": 1,
        },
        "module.pt": lambda: boring_classes.BoringModel(),
        "loader.pt": lambda: DataLoader(TensorDataset(t.ones(3, 2))),
        "hparams.yaml": lambda path: li.pytorch.core.saving.save_hparams_to_yaml(path, {"lr": 0.1, "layers": [1, 2]}),
        "fabric.ckpt": lambda path: li.Fabric(accelerator="cpu").save(path, {"model": small(), "step": 3}),
    }


def torchmetrics() -> Objects:
    import torch as t
    import torchmetrics as tm

    def seen(metric: Any) -> Any:
        metric.update(t.tensor([0, 1, 1]), t.tensor([0, 1, 0]))
        return metric

    return {
        "accuracy.pt": lambda: seen(tm.classification.BinaryAccuracy()),
        "accuracy.pkl": lambda: seen(tm.classification.MulticlassAccuracy(2)),
        "auroc.pt": lambda: tm.classification.BinaryAUROC(),
        "mse.pt": lambda: seen(tm.MeanSquaredError()),
        "collection.pt": lambda: tm.MetricCollection([tm.MeanSquaredError(), tm.MeanAbsoluteError()]),
        "state.pt": lambda: seen(tm.MeanSquaredError()).state_dict(),
    }


def omegaconf() -> Objects:
    from omegaconf import OmegaConf

    config = OmegaConf.create({"lr": 0.1, "layers": [1, 2], "name": "${lr}-net", "model": {"width": 8, "act": None}})
    return {
        "config.pkl": lambda: config,
        "config.pt": lambda: config,
        "list.pkl": lambda: OmegaConf.create([1, {"a": 2}]),
        "checkpoint.ckpt": lambda: {"state_dict": small().state_dict(), "hyper_parameters": config},
        "config.yaml": lambda path: OmegaConf.save(config, path),
        "plain.pt": lambda: OmegaConf.to_container(config, resolve=True),
    }


def sentence_transformers() -> Objects:
    import sentence_transformers as st
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertModel, PreTrainedTokenizerFast

    def model(path: Any) -> Any:
        source = path.parent.parent / "transformers" / "source"
        BertModel(tiny_bert()).save_pretrained(source)
        PreTrainedTokenizerFast(tokenizer_object=words(), unk_token="[U]", pad_token="[U]").save_pretrained(source)
        part = Transformer(str(source), max_seq_length=8)
        return st.SentenceTransformer(
            modules=[part, Pooling(part.get_word_embedding_dimension()), Normalize()], device="cpu"
        )

    return {
        "saved": lambda path: model(path).save(str(path)),
        "saved-bin": lambda path: model(path).save(str(path), safe_serialization=False),
        "whole.pt": lambda path: __import__("torch").save(model(path), path),
        "pooling.pt": lambda: Pooling(8),
    }


def diffusers() -> Objects:
    import diffusers as df

    unet = df.UNet2DModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
    )
    return {
        "pipeline": lambda path: df.DDPMPipeline(unet, df.DDPMScheduler()).save_pretrained(path),
        "unet": lambda path: unet.save_pretrained(path),
        "unet-bin": lambda path: unet.save_pretrained(path, safe_serialization=False),
        "scheduler": lambda path: df.EulerDiscreteScheduler().save_pretrained(path),
        "scheduler.pkl": lambda: df.DDIMScheduler(),
        "unet.pt": lambda: unet.state_dict(),
        "whole.pt": lambda: unet,
    }


def torch_geometric() -> Objects:
    import torch as t
    from torch_geometric.data import Batch, Data, HeteroData
    from torch_geometric.nn import GAT, GCN, GraphSAGE

    graph = Data(x=t.ones(3, 2), edge_index=t.tensor([[0, 1], [1, 2]]), y=t.zeros(3))
    several = HeteroData()
    several["paper"].x = t.ones(2, 2)
    return {
        "graph.pt": lambda: graph,
        "list.pt": lambda: [graph, graph],
        "batch.pt": lambda: Batch.from_data_list([graph, graph]),
        "hetero.pt": lambda: several,
        "gcn.pt": lambda: GCN(2, 4, 1),
        "gat.pt": lambda: GAT(2, 4, 1).state_dict(),
        "sage.pt": lambda: GraphSAGE(2, 4, 1),
        "graph.pkl": lambda: graph,
    }


def skorch() -> Objects:
    import numpy as np
    from skorch import NeuralNetClassifier, NeuralNetRegressor
    from torch import nn

    x = np.ones((8, 4), dtype=np.float32)

    def fitted(kind: Any, y: Any, **options: Any) -> Any:
        return kind(
            nn.Linear,
            module__in_features=4,
            module__out_features=2 if kind is NeuralNetClassifier else 1,
            max_epochs=1,
            verbose=0,
            train_split=None,
            **options,
        ).fit(x, y)

    return {
        "classifier.pkl": lambda: fitted(
            NeuralNetClassifier, np.zeros(8, dtype=np.int64), criterion=nn.CrossEntropyLoss
        ),
        "regressor.pkl": lambda: fitted(NeuralNetRegressor, x[:, :1]),
        "regressor.joblib": lambda: fitted(NeuralNetRegressor, x[:, :1]),
        "parameters.pt": lambda path: fitted(NeuralNetRegressor, x[:, :1]).save_params(f_params=str(path)),
        "optimizer.pt": lambda path: fitted(NeuralNetRegressor, x[:, :1]).save_params(f_optimizer=str(path)),
        "history.json": lambda path: fitted(NeuralNetRegressor, x[:, :1]).save_params(f_history=str(path)),
    }


def pyro_ppl() -> Objects:
    import pyro
    import torch as t
    from pyro import distributions as dist
    from pyro.nn import PyroModule

    pyro.param("scale", t.ones(2), constraint=dist.constraints.positive)
    return {
        "store.pt": lambda path: pyro.get_param_store().save(str(path)),
        "state.pt": lambda: pyro.get_param_store().get_state(),
        "normal.pkl": lambda: dist.Normal(t.zeros(2), t.ones(2)),
        "module.pt": lambda: PyroModule[t.nn.Linear](2, 2).state_dict(),
        "optimiser.pt": lambda: pyro.optim.Adam({"lr": 0.1}).get_state(),
        "trace.pkl": lambda: pyro.poutine.Trace(),
    }


def gpytorch() -> Objects:
    import gpytorch as gp

    kernel = gp.kernels.ScaleKernel(gp.kernels.RBFKernel())
    return {
        "kernel.pt": lambda: kernel,
        "state.pt": lambda: kernel.state_dict(),
        "likelihood.pt": lambda: gp.likelihoods.GaussianLikelihood(),
        "matern.pkl": lambda: gp.kernels.MaternKernel(1.5),
        "mean.pt": lambda: gp.means.ConstantMean(),
        "sum.pt": lambda: gp.kernels.LinearKernel() + gp.kernels.PeriodicKernel(),
    }


def safetensors() -> Objects:
    import numpy as np
    import torch as t
    from safetensors.numpy import save_file as save_arrays
    from safetensors.torch import save_file, save_model

    return {
        "state.safetensors": lambda path: save_file(small().state_dict(), path),
        "metadata.safetensors": lambda path: save_file(
            {"w": t.ones(2, 3)}, path, metadata={"format": "pt", "step": "3"}
        ),
        "model.safetensors": lambda path: save_model(small(), str(path)),
        "arrays.safetensors": lambda path: save_arrays({"a": np.ones(3), "b": np.zeros((2, 2), np.float16)}, path),
        "half.safetensors": lambda path: save_file({"w": t.ones(3, dtype=t.bfloat16), "i": t.arange(3)}, path),
    }


def keras() -> Objects:
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras as ks

    layers = ks.layers
    dense = ks.Sequential([layers.Input((4,)), layers.Dense(3, "relu"), layers.Dense(1)])
    dense.compile("adam", "mse")
    text = ks.Sequential([layers.Input((5,)), layers.Embedding(9, 4), layers.GRU(3), layers.Dense(1, "sigmoid")])
    image = ks.Sequential(
        [layers.Input((8, 8, 1)), layers.Rescaling(0.1), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()]
    )
    return {
        **{
            f"{n}.keras": functools.partial(lambda m, path: m.save(path), m)
            for n, m in {"dense": dense, "text": text, "image": image}.items()
        },
        "dense.h5": lambda path: dense.save(path),
        "dense.weights.h5": lambda path: dense.save_weights(path),
        "dense.json": lambda path: path.write_text(dense.to_json()),
        "dense.pkl": lambda: dense,
        "history.json": lambda path: path.write_text(json.dumps({"loss": [0.1]})),
    }


def onnx() -> Objects:
    import numpy as np
    import onnx as ox
    from onnx import TensorProto, helper, numpy_helper

    def graph(*kinds: str) -> Any:
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("t0", f"t{len(kinds)}")]
        nodes = [helper.make_node(kind, [f"t{i}"], [f"t{i + 1}"]) for i, kind in enumerate(kinds)]
        return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]))

    return {
        "relu.onnx": lambda path: ox.save(graph("Relu"), path),
        "deep.onnx": lambda path: ox.save(graph("Tanh", "Sigmoid", "Softmax"), path),
        "metadata.onnx": lambda path: described(ox, graph("Exp"), path),
        "tensor.pb": lambda path: path.write_bytes(numpy_helper.from_array(np.ones(3)).SerializeToString()),
        "model.json": lambda path: ox.save(graph("Relu"), path, format="json"),
    }


def described(ox: Any, model: Any, path: Any) -> None:
    ox.helper.set_model_props(model, {"author": "someone"})
    ox.save(model, path)


def stable_baselines3() -> Objects:
    import stable_baselines3 as sb

    ppo = sb.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    return {
        "ppo.zip": lambda path: ppo.save(path),
        "a2c.zip": lambda path: sb.A2C("MlpPolicy", "CartPole-v1", device="cpu").save(path),
        "dqn.zip": lambda path: sb.DQN("MlpPolicy", "CartPole-v1", buffer_size=10, device="cpu").save(path),
        "policy.pt": lambda path: ppo.policy.save(path),
        "state.pt": lambda: ppo.policy.state_dict(),
        "normal.pkl": lambda path: sb.common.vec_env.VecNormalize(ppo.get_env()).save(str(path)),
    }


def monai() -> Objects:
    import monai as mo

    return {
        "unet.pt": lambda: mo.networks.nets.BasicUNet(2, 1, 2, features=(2, 2, 2, 2, 2, 2)).state_dict(),
        "whole.pt": lambda: mo.networks.nets.FullyConnectedNet(4, 2, [3]),
        "transforms.pt": lambda: mo.transforms.Compose([mo.transforms.ScaleIntensity(), mo.transforms.RandFlip(0.5)]),
        "loss.pt": lambda: mo.losses.DiceLoss(),
        "tensor.pt": lambda: mo.data.MetaTensor([1.0, 2.0]),
        "metric.pkl": lambda: mo.metrics.DiceMetric(),
    }


def ultralytics() -> Objects:
    from ultralytics import YOLO
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    model = DetectionModel("yolo11n.yaml", ch=3, nc=2, verbose=False)
    return {
        "detect.pt": lambda: {
            "model": model.half(),
            "epoch": -1,
            "train_args": {"imgsz": 64},
            "date": "2025-01-01",
            "ema": None,
        },
        "classify.pt": lambda: {"model": ClassificationModel("yolo11n-cls.yaml", ch=3, nc=2, verbose=False)},
        "eight.pt": lambda: {"model": DetectionModel("yolov8n.yaml", ch=3, nc=2, verbose=False)},
        "state.pt": lambda: model.state_dict(),
        "own.pt": lambda path: YOLO("yolo11n.yaml").save(str(path)),
        "segment.pt": lambda path: YOLO("yolo11n-seg.yaml").save(str(path)),
    }


LIBRARIES = {
    "torch": torch,
    "torchvision": torchvision,
    "timm": timm,
    "transformers": transformers,
    "peft": peft,
    "lightning": lightning,
    "torchmetrics": torchmetrics,
    "omegaconf": omegaconf,
    "sentence-transformers": sentence_transformers,
    "diffusers": diffusers,
    "torch-geometric": torch_geometric,
    "skorch": skorch,
    "pyro-ppl": pyro_ppl,
    "gpytorch": gpytorch,
    "safetensors": safetensors,
    "keras": keras,
    "onnx": onnx,
    "stable-baselines3": stable_baselines3,
    "monai": monai,
    "ultralytics": ultralytics,
}
