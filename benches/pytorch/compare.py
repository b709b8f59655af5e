"""Times training steps of iresnet and of the published PyTorch code, in turns, on the processor's cores.

    python compare.py --code FOLDER --iresnet PROGRAM [--rounds N] [--steps N]

FOLDER is a checkout of github.com/jhjacobsen/invertible-resnet. Prints one JSON object a line: the seconds of a step in each
round, both medians, and their ratio (above one: iresnet is faster).
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy
import torch

BATCH = 32
HERE = Path(__file__).parent


def published(code, name):
    """A function that trains the published network of a name for one step, and how many parameters it has."""
    sys.path.insert(0, str(code))
    # Names that PyTorch and NumPy have no more: the first is imported and not used here.
    vars(sys.modules["torch.autograd.gradcheck"]).setdefault("zero_gradients", None)
    vars(numpy).setdefault("float", float)
    from models.conv_iResNet import conv_iResNet, multiscale_conv_iResNet

    shape = (3, 32, 32)
    common = dict(coeff=0.9, n_power_iter=1, nonlin="elu")
    # What the code prints while it builds a network is not for the table.
    with redirect_stdout(io.StringIO()):
        if name == "classifier":
            network = conv_iResNet(shape, [7, 7, 7], [1, 2, 2], [32, 64, 128], init_ds=1, inj_pad=13, nClasses=10, **common)
        else:
            network = multiscale_conv_iResNet(
                shape, [4, 4, 4], [1, 2, 2], [64, 64, 64], init_squeeze=True, density_estimation=True, numSeriesTerms=5, **common
            )
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    x = torch.randn(BATCH, *shape)
    labels = torch.arange(BATCH) % 10

    def step():
        optimizer.zero_grad()
        # The script asks for gradients of its inputs too.
        inputs = x.clone().requires_grad_()
        if name == "classifier":
            loss = torch.nn.functional.cross_entropy(network(inputs)[0], labels)
        else:
            _, log_prior, log_det = network(inputs)
            loss = -(log_prior + log_det).mean()
        loss.backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in network.parameters())


def ours(program, name):
    """Seconds of a step, the mean over the untouched steps of a profile."""
    command = [program, "bench", "--profile", "--config", str(HERE / f"{name}.toml"), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return next(line["seconds"] for line in lines if line["op"] == "step")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--code", required=True, type=Path)
    arguments.add_argument("--iresnet", required=True)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=5)
    arguments = arguments.parse_args()
    torch.manual_seed(1)
    for name in ["classifier", "density"]:
        step, parameters = published(arguments.code, name)
        step()
        theirs, mine = [], []
        for _ in range(arguments.rounds):
            seconds = []
            for _ in range(arguments.steps):
                begun = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - begun)
            theirs.append(statistics.median(seconds))
            mine.append(ours(arguments.iresnet, name))
        ratio = statistics.median(theirs) / statistics.median(mine)
        print(
            json.dumps(
                {
                    "network": name,
                    "parameters": parameters,
                    "torch": torch.__version__,
                    "threads": torch.get_num_threads(),
                    "published_seconds": theirs,
                    "iresnet_seconds": mine,
                    "ratio": ratio,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
