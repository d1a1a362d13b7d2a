"""Suggestions for a mistyped setting: first from its group, then from other libraries' names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

ALIKE = 0.6
"""Smallest similarity of two names."""

MUCH_ALIKE = 0.8
"""Similarity from which a name is a typo rather than another library's name for something else."""

ALIASES = {
    "total_steps": "steps timesteps total_timesteps n_timesteps num_steps max_steps n_steps",
    "algo.learning_rate": "lr learning_rates actor_lr step_size alpha policy_lr",
    "algo.critic_learning_rate": "critic_lr q_lr",
    "algo.batch_size": "batch minibatch_size mini_batch_size bs",
    "algo.buffer_size": "buffer replay_size memory_size capacity replay_buffer_size",
    "algo.learning_starts": "warmup start_steps random_steps warmup_steps start_timesteps",
    "algo.gamma": "discount discount_factor",
    "algo.tau": "polyak soft_update",
    "algo.exploration_noise": "noise noise_std expl_noise action_noise",
    "algo.policy_delay": "policy_freq delay",
    "algo.train_freq": "update_every train_frequency",
    "algo.gradient_steps": "utd updates_per_step num_updates",
    "algo.ent_coef": "entropy entropy_coef temperature",
    "algo.clip_range": "clip clip_eps",
    "algo.n_epochs": "epochs update_epochs",
    "algo.target_update_updates": "target_update_interval target_update_freq",
    "actor.hidden": "net_arch hidden_sizes hidden_size hidden_dim layers hidden_layers width",
    "actor.time_steps": "t timestep time_step spike_ts snn_steps num_time_steps",
    "neuron.threshold": "vth v_th v_threshold thresh spike_threshold",
    "neuron.decay": "tau beta leak tau_m tau_mem membrane_decay voltage_decay",
    "neuron.current_decay": "tau_s tau_syn syn_decay alpha",
    "surrogate.scale": "width slope alpha sigma",
    "target.updates": "proxy_iters proxy_updates proxy_steps k",
    "target.learning_rate": "proxy_lr",
    "target.hidden": "proxy_hidden proxy_sizes",
    "bn.recalibrate_every": "recalibration_interval recal_every recalibrate",
    "bn.eps": "epsilon",
    "encoder.population": "pop pop_dim neurons",
    "env.n_envs": "num_envs workers n_workers num_workers parallel",
    "env.id": "env_id environment task env_name gym_id name",
    "env.wrappers": "wrapper",
    "env.kwargs": "env_kwargs options args arguments",
    "evaluation.every": "eval_every eval_freq eval_interval freq interval",
    "evaluation.episodes": "n_eval_episodes eval_episodes num_eval_episodes n_episodes",
    "checkpoint.every": "save_every save_freq checkpoint_freq freq interval",
    "log_every": "log_interval log_freq",
    "results_dir": "out outdir out_dir output output_dir log_dir logdir save_dir results dir",
    "threads": "num_threads n_threads cores cpus",
    "deterministic": "torch_deterministic cudnn_deterministic deterministic_torch reproducible",
    "device": "cuda gpu use_cuda",
    "seed": "seeds random_seed random_state",
    "tracking=tensorboard": "tensorboard tb",
    "tracking=wandb": "wandb use_wandb",
    "algo=...": "algorithm agent",
    "actor=...": "policy network model",
    "bn=...": "norm normalization normalisation batchnorm batch_norm",
    "hydra.launcher.n_jobs": "jobs n_jobs num_jobs",
}
"""Setting -> its names in other libraries."""

CHOICES = {
    "actor": {"snn": "spiking", "mlp": "ann", "dnn": "ann", "dense": "ann"},
    "critic": {"snn": "spiking", "mlp": "ann", "dnn": "ann"},
    "bn": {"batchnorm": "vanilla", "bn": "vanilla", "ema": "vanilla", "off": "none"},
    "neuron": {
        "cuba": "clif",
        "currentlif": "clif",
        "dynamic": "dn",
        "mdcsan": "dn_mdcsan",
        "parametriclif": "plif",
        "adaptive": "alif",
        "lsnn": "alif",
    },
    "encoder": {
        "popsan": "population",
        "pop": "population",
        "constant": "direct",
        "rate": "poisson",
        "ttfs": "latency",
    },
    "kernel": {"cuda": "triton", "gpu": "triton", "cpu": "native", "torch": "naive"},
    "tracking": {"tb": "tensorboard", "off": "none", "wb": "wandb"},
    "target": {"pt": "proxy", "proxytarget": "proxy", "polyak": "soft", "none": "soft"},
    "conv": {"cnn": "nature", "atari": "nature"},
}
"""Group -> another library's name of a choice -> the choice."""


def suggest_setting(key: str, known: Collection[str], groups: Iterable[str]) -> str:
    """Return a suggestion for an unknown key, such as ``; did you mean 'neuron.decay'?``.

    :param key: unknown key, such as ``neuron.tau`` or ``lr``
    :param known: all settings
    :param groups: names of the groups
    """
    groups = list(groups)
    group, _, name = key.rpartition(".")
    own = [k for k in known if k.rpartition(".")[0] == group and not k.endswith(".name")]
    if group and own:
        return _suggest_within_group(name, group, own, known, _aliases(known, groups))
    named: dict[str, str] = {each: f"{each}=..." for each in groups}
    for each in sorted(
        known,
        key=lambda k: (-k.count("."), k.startswith(("algo.", "actor.")), k != "algo.tau"),
    ):
        named[each.rpartition(".")[2]] = each
    del named["name"]
    if (meant := named.get(name) or _alias(name, _aliases(known, groups))) is not None:
        return _did_you_mean(meant)
    close = difflib.get_close_matches(name.lower(), named, n=1, cutoff=ALIKE)
    # One wrong letter of two is half of the name.
    close = close or [each for each in groups if len(each) == len(name) == 2 and _share(each, name)]
    return _did_you_mean(named[close[0]]) if close else "; --help lists all"


def _suggest_within_group(
    name: str, group: str, own: list[str], known: Collection[str], aliased: Collection[str]
) -> str:
    """Suggest a setting for a name within a known group."""
    names = {k.rpartition(".")[2]: k for k in own}

    def nearest(cutoff: float) -> str | None:
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=cutoff)
        return names[close[0]] if close else None

    meant = _alias(name, own) or nearest(MUCH_ALIKE) or _alias(name, aliased) or nearest(ALIKE)
    if meant is not None:
        return _did_you_mean(meant)
    others = [k for k in known if k.rpartition(".")[2] == name]
    beside = f"; another group has '{others[0]}'" if others else ""
    return f"; {group} has {', '.join(own)}{beside}"


def _aliases(known: Collection[str], groups: Collection[str]) -> list[str]:
    """Return the settings with names in other libraries that the command has."""
    return [
        key
        for key in ALIASES
        if key in known or key.partition("=")[0] in groups or key.startswith("hydra.")
    ]


def _alias(name: str, among: Collection[str]) -> str | None:
    """Return the first setting of ``among`` that other libraries call ``name``."""
    for setting, names in ALIASES.items():
        if setting in among and name.lower() in names.split():
            return setting
    return None


def suggest_choice(group: str, name: str, choices: Collection[str]) -> str:
    """Return a suggestion for a name that is no choice of a group; empty if none is similar.

    :param choices: choices of the group
    """
    plain = {_plain(choice): choice for choice in choices}
    meant = CHOICES.get(group, {}).get(_plain(name)) or plain.get(_plain(name))
    if meant is None:
        ends = [choice for choice in choices if choice.rpartition("/")[2] == name.lower()]
        close = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=ALIKE)
        meant = " or ".join(f"{group}={end}" for end in ends) or next(iter(close), None)
    return "" if meant is None else _did_you_mean(meant)


def suggest_environment(name: str, id_of: dict[str, str]) -> str | None:
    """Return a suggestion for ``env=<name>`` that is an id or resembles one; ``None`` otherwise.

    :param id_of: choice of the group ``env`` -> its id
    """
    choices = [choice for choice, env_id in id_of.items() if env_id.lower() == name.lower()]
    if choices:
        return _did_you_mean("' or '".join(f"env={choice}" for choice in choices))
    close = difflib.get_close_matches(name.lower(), id_of, n=1, cutoff=0.8)
    if close and name.islower():
        return None  # A typo in the name of a choice: ids have capitals.
    # Importing it takes seconds.
    from snnrl.envs import known_ids, nearest_id

    ids = known_ids()
    if name in ids or ":" in name:
        return _did_you_mean(f"env.id={name}")
    if any(_plain(name) == _plain(choice.rpartition("/")[2]) for choice in id_of):
        return None
    meant = None if close else nearest_id(name, ids)
    return None if meant is None else _did_you_mean(f"env.id={meant}")


def suggest_number(key: str, value: str) -> str:
    """Return how to write a whole number, or several, that Hydra does not read; empty if none is
    meant.

    :param value: the value as given, such as ``1M``, ``10^6``, ``1-5``, ``[0,1]``
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmMgGbB])", value):
        size = float(match[1]) * {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}[match[2].lower()]
        return _did_you_mean(f"{key}={size:.0f}")
    if match := re.fullmatch(r"(\d+)\s*(?:\^|\*\*)\s*(\d{1,2})", value):
        return _did_you_mean(f"{key}={int(match[1]) ** int(match[2])}")
    if match := re.fullmatch(r"(\d+)\s*(?:-|\.\.+|:|to)\s*(\d+)", value):
        return f'; did you mean -m "{key}=range({match[1]},{int(match[2]) + 1})"?'
    if match := re.fullmatch(r"[\[(]\s*(\d+(?:\s*,\s*\d+)*)\s*[\])]", value):
        return f'; did you mean -m "{key}={match[1].replace(" ", "")}"?'
    return ""


def _share(one: str, other: str) -> bool:
    """Return whether two names have a letter at the same place."""
    return any(a == b for a, b in zip(one, other.lower(), strict=True))


def suggest_option(launcher: str, name: str, options_of: dict[str, list[str]]) -> str:
    """Return what to write for an option that a launcher does not have.

    :param launcher: the chosen one
    :param name: of the option
    :param options_of: launcher -> names of its options
    """
    own = options_of.get(launcher, [])
    prefix = "hydra.launcher."
    close = difflib.get_close_matches(name, own, n=1, cutoff=ALIKE)
    if close:
        return f"no such option{_did_you_mean(f'{prefix}{close[0]}')}"
    if own:
        return f"no such option; hydra/launcher={launcher} has {', '.join(own)}"
    every = list(dict.fromkeys(option for options in options_of.values() for option in options))
    for option in difflib.get_close_matches(name, every, n=1, cutoff=ALIKE):
        having = [f"hydra/launcher={each}" for each, its in options_of.items() if option in its]
        if option == name:
            return f"expected only with {' or '.join(having)}"
        return f"no such option; did you mean '{prefix}{option}' with {' or '.join(having)}?"
    return f"no such option; hydra/launcher={launcher} has none"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _did_you_mean(text: str) -> str:
    return f"; did you mean '{text}'?"
