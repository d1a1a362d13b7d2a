"""The common mode of a Q-network's values, learned by an ordinary network.

Source: CMC-DSQN (arXiv 2610.07808). Sizes and convolutions are our choice: those of the Q-network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import create_mlp
from torch import Tensor, nn

from snnrl.agents.policies.features import ConvExtractor
from snnrl.nn.convolution import conv_lists


class CommonMode(nn.Module):
    """C(s): an ordinary network with ReLU and one output.

    :param observation_space: of the environment
    :param features: number of features of a flattened observation
    :param hidden: neurons of each hidden layer
    :param conv: convolutions in front of them, as of ``AnnPolicy``; ``None``: observations are
        vectors
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        features: int,
        hidden: Sequence[int],
        conv: Mapping[str, Any] | None,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        if conv is not None:
            extractor = ConvExtractor(observation_space, **conv_lists(conv))
            layers, features = [extractor], extractor.features_dim
        self.layers = nn.Sequential(*layers, *create_mlp(features, 1, list(hidden)))

    def forward(self, features: Tensor) -> Tensor:
        """Return C of features ``[B, ...]``, ``[B, 1]``."""
        common: Tensor = self.layers(features)
        return common

    def correct(self, values: Tensor, features: Tensor) -> Tensor:
        """Return ``Q - mean_a Q + C(s)``, ``[B, actions]``.

        :param values: Q of the spiking network, ``[B, actions]``
        :param features: ``[B, ...]``
        """
        common: Tensor = self(features)
        return values - values.mean(dim=1, keepdim=True) + common
