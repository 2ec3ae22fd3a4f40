"""Are images better read in two dimensions?"""

from __future__ import annotations

import sys
from pathlib import Path

import jsonargparse
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.digits import mnist


def main() -> None:
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", type=Path | None, default=None)
    parser.add_argument("--plan", type=mnist.Plan, default=mnist.Plan())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = mnist.learn(arguments.plan, arguments.mnist)
    print({k: v for k, v in found.items() if k != "history"})


if __name__ == "__main__":
    main()
