"""Settings of the published rows that our runs can stand for.

They are those of CaRe-BN's protocol (arXiv 2509.23791), in which Proxy Target (arXiv 2505.24161)
made its rows too: TD3 with the settings of ``experiment=carebn/td3``. Rows of other protocols, such
as PopSAN's own, stand beside no run: other settings make other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnrl.run_format.equal_neurons import canonical_neuron
from snnrl.run_format.settings import CAME_LATER, NOT_SETTINGS

PROTOCOL = "CaRe-BN"
"""Name of the protocol in ``published.csv``."""

SHARED: dict[str, Any] = {
    "algo.name": "td3",
    "algo.learning_rate": 3e-4,
    "algo.buffer_size": 1_000_000,
    "algo.learning_starts": 25_000,
    "algo.batch_size": 256,
    "algo.gamma": 0.99,
    "algo.train_freq": 1,
    "algo.gradient_steps": 1,
    "algo.tau": 0.005,
    "algo.exploration_noise": 0.1,
    "algo.policy_delay": 2,
    "algo.target_policy_noise": 0.2,
    "algo.target_noise_clip": 0.5,
    "actor.hidden": [256, 256],
    "critic.name": "ann",
    "critic.hidden": [256, 256],
    "evaluation.every": 5000,
    "evaluation.episodes": 10,
}
"""Settings of every row. What is not here has the value that it had before it could be chosen."""

SPIKING: dict[str, Any] = {
    "actor.name": "spiking",
    "actor.time_steps": 5,
    "actor.population": 10,
    "surrogate.name": "rectangular",
    "surrogate.scale": 0.5,
    "encoder.name": "population",
    "encoder.population": 10,
    "neuron.threshold": 0.5,
    "neuron.detach_reset": False,
}
"""Settings of the rows of spiking actors."""

NEURONS: dict[str, dict[str, Any]] = {
    "lif": {"neuron.decay": 0.75},
    "clif": {"neuron.decay": 0.75, "neuron.current_decay": 0.5},
    "dn": {
        "neuron.current_decay": 0.5,
        "neuron.tv": -0.172,
        "neuron.tu": 0.529,
        "neuron.tr": 0.021,
        "neuron.ts": 0.132,
    },
}

MOVING: dict[str, Any] = {
    "bn.rule": "ema",
    "bn.momentum": 0.1,
    "bn.smoothing": 0.8,
    "bn.effective_n": None,
    "bn.eps": 1e-5,
    "bn.recalibrate_every": None,
    "bn.recalibrate_batches": 100,
    "bn.target_stats": "soft",
}
"""Settings of a normalisation by moving statistics; the momentum is ours."""


def _proxy(learning_rate: float, hidden: list[int]) -> dict[str, Any]:
    return {
        "bn.name": "none",
        "target.name": "proxy",
        "target.updates": 3,
        "target.learning_rate": learning_rate,
        "target.hidden": hidden,
    }


METHODS: dict[str, dict[str, Any]] = {
    "ANN": {"bn.name": "none"},
    "vanilla LIF": {"bn.name": "none"},
    # To the digit the rows of the current-based LIF and of the dynamic neuron.
    "pop-SAN": {"bn.name": "none"},
    "MDC-SAN": {"bn.name": "none"},
    # Which membrane potential was read is not said: the last, as in its own code.
    "ILC-SAN": {
        "bn.name": "none",
        "actor.readout": "membrane",
        "actor.membrane_value": "last",
        "actor.membrane_decay": 1.0,
        "actor.lateral": "intra",
    },
    "tdBN": {**MOVING, "bn.name": "tdbn", "bn.alpha": 1.0},
    "TEBN": {**MOVING, "bn.name": "tebn"},
    "TAB": {**MOVING, "bn.name": "tab"},
    "CaRe-BN": {
        **MOVING,
        "bn.name": "carebn",
        "bn.rule": "confidence",
        "bn.recalibrate_every": 5000,
    },
    "PT-LIF": _proxy(1e-3, [512, 512]),
    "PT-CLIF": _proxy(3e-3, [800, 600]),
    "PT-DN": _proxy(3e-3, [512, 512]),
    # Not published: the settings of target=proxy, of which no other proxy is a row.
    "ANN with a proxy": _proxy(1e-3, [512, 512]),
}
"""Settings of each row's method."""

IN_ENVIRONMENT: dict[tuple[str, str], dict[str, Any]] = {
    ("PT-CLIF", "InvertedDoublePendulum-v4"): {"target.hidden": [512, 512]},
}
"""Settings of a method that differ in one environment."""

OF_ITS_OWN = ("env.id", "kernel", "threads", "seeding")
"""Settings, besides those of files and length, that do not matter here: the environment is the
row's, and the others hardly change what is learned."""

TIME_LIMIT = 1000
"""Steps of an episode in each environment of the rows."""


def follows(settings: Mapping[str, Any], method: str, neuron: str, environment: str) -> bool:
    """Return whether a run has the published settings of a row.

    :param settings: of the run, by dotted keys, those that came later included
    :param method: of the row
    :param neuron: of the row; empty for an ordinary actor
    :param environment: of row and run
    """
    if method not in METHODS or (neuron and neuron not in NEURONS):
        return False
    actor = {**SPIKING, "neuron.name": neuron, **NEURONS[neuron]} if neuron else {}
    expected = {
        **CAME_LATER,
        **SHARED,
        **(actor or {"actor.name": "ann"}),
        **METHODS[method],
        **IN_ENVIRONMENT.get((method, environment), {}),
    }
    without_effect = [
        *OF_ITS_OWN,
        *NOT_SETTINGS,
        *([] if neuron else ["neuron", "surrogate", "encoder"]),
        *(["bn"] if METHODS[method]["bn.name"] == "none" else []),
    ]
    ours, theirs = _canonical(settings), _canonical(expected)
    kept = {key for key in {*ours, *theirs} if not _is_below(key, without_effect)}
    return all(
        key in ours and key in theirs and ours[key] == theirs[key] for key in {*kept, "bn.name"}
    )


def _canonical(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of TD3 in a canonical form of those that mean the same.

    A number in place of ``null`` or ``auto`` that these stand for is no other setting, nor is one
    that does nothing. ``ca_only`` with a re-calibration is CaRe-BN.
    """
    found = dict(settings)
    usual = {
        "actor.readout": ("auto", "population"),
        "algo.critic_learning_rate": (None, found.get("algo.learning_rate")),
        # As many updates as steps.
        "algo.gradient_steps": (-1, found.get("algo.train_freq")),
        "bn.name": ("carebn", "ca_only"),
    }
    for key, (name, same) in usual.items():
        if same is not None and found.get(key) == same:
            found[key] = name
    batch = found.get("algo.batch_size")
    if isinstance(batch, int) and found.get("bn.effective_n") == batch - 1:
        found["bn.effective_n"] = None
    limit = found.get("evaluation.max_episode_steps")
    if isinstance(limit, int) and limit >= TIME_LIMIT:
        found["evaluation.max_episode_steps"] = None
    if found.get("bn.recalibrate_every") is None:
        found.pop("bn.recalibrate_batches", None)
    neuron = {key: value for key, value in found.items() if _is_below(key, ["neuron"])}
    canonical = canonical_neuron({key.removeprefix("neuron."): neuron[key] for key in neuron})
    return {
        **{key: value for key, value in found.items() if key not in neuron},
        **{f"neuron.{key}": value for key, value in canonical.items()},
    }


def _is_below(key: str, places: list[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)
