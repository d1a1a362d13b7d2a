"""Mistake -> what it is answered with."""

from __future__ import annotations

import gymnasium
import pytest

from snnrl.envs import nearest_id
from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.nodes import NODES, setting_types
from snnrl.experiment.config.overrides import check_override, check_overrides
from snnrl.experiment.config.suggest import ALIASES, CHOICES, suggest_number
from snnrl.train import main

SUGGESTIONS = {
    # the group that was named comes first
    "neuron.tau=2": "'neuron.decay'",
    "neuron.leak=0.9": "'neuron.decay'",
    "neuron.vth=1": "'neuron.threshold'",
    "neuron.tresh=1": "'neuron.threshold'",
    "neuron.gamma=1": "neuron.learning_rate; another group has 'algo.gamma'",
    "neuron.foo=1": "neuron.tv, neuron.tu, neuron.tr, neuron.ts, neuron.learning_rate",
    "algo.lr=1e-3": "'algo.learning_rate'",
    "algo.learningrate=1": "'algo.learning_rate'",
    "algo.steps=3": "'algo.n_steps'",
    "algo.timesteps=3": "'total_steps'",
    "algo.hidden=[8]": "another group has 'actor.hidden'",
    "actor.lr=1": "'algo.learning_rate'",
    "critic.lr=1": "'algo.learning_rate'",
    "actor.T=4": "'actor.time_steps'",
    "critic.bn.momentun=1": "'critic.bn.momentum'",
    "env.num_envs=4": "'env.n_envs'",
    "env.seed=4": "another group has 'seed'",
    "surrogate.alpha=2": "'surrogate.scale'",
    "evaluation.freq=100": "'evaluation.every'",
    "checkpoint.freq=100": "'checkpoint.every'",
    # a part that every run has, and names of two letters
    "time_steps=3": "'actor.time_steps'",
    "hidden=[8]": "'actor.hidden'",
    "bm=carebn": "'bn=...'",
    "vn=carebn": "'bn=...'",
    # what others call it
    "lr=1e-3": "'algo.learning_rate'",
    "LR=1e-3": "'algo.learning_rate'",
    "critic_lr=1e-3": "'algo.critic_learning_rate'",
    "tau=0.01": "'algo.tau'",
    "gamma=0.9": "'algo.gamma'",
    "batch_size=8": "'algo.batch_size'",
    "n_envs=4": "'env.n_envs'",
    "num_envs=4": "'env.n_envs'",
    "steps=5": "'total_steps'",
    "timesteps=5": "'total_steps'",
    "total_timesteps=5": "'total_steps'",
    "net_arch=[8]": "'actor.hidden'",
    "decay=0.5": "'neuron.decay'",
    "eval_freq=100": "'evaluation.every'",
    "log_interval=1": "'log_every'",
    "log_dir=x": "'results_dir'",
    "env_id=x": "'env.id'",
    "gpu=0": "'device'",
    "wandb=true": "'tracking=wandb'",
    "norm=carebn": "'bn=...'",
    "algorithm=td3": "'algo=...'",
    "neuro=lif": "'neuron=...'",
    "learning_rat=1": "'algo.learning_rate'",
    "nothing_like_it=1": "--help lists all",
    # choices
    "algo=TD3": "'td3'",
    "neuron=LIF": "'lif'",
    "neuron=CUBA": "'clif'",
    "neuron=MDC-SAN": "'dn_mdcsan'",
    "neuron=LSNN": "'alif'",
    "neuron=pliff": "'plif'",
    "bn=CaRe-BN": "'carebn'",
    "bn=batchnorm": "'vanilla'",
    "actor=snn": "'spiking'",
    "actor=MLP": "'ann'",
    "tracking=tb": "'tensorboard'",
    "experiment=td3": "'experiment=carebn/td3 or experiment=ilcsan/td3 or "
    "experiment=mdcsan/td3 or experiment=popsan/td3'",
    "experiment=quick_start": "'quickstart'",
    # environments
    "env=HalfCheetah": "'half_cheetah'",
    "env=halfcheetah": "'half_cheetah'",
    "env=Hopper-v4": "'env=hopper'",
    "env=Hopper-v5": "'env=hopper_v5'",
    "env=hopper-v5": "'env=hopper_v5'",
    "env=CartPole-v1": "'env=cartpole'",
    "env=LunarLander-v3": "'env.id=LunarLander-v3'",
    "env=lunarlander": "'env.id=LunarLander-v3'",
    "env=lunar_lander": "'env.id=LunarLander-v3'",
    "env=Reacher-v5": "'env.id=Reacher-v5'",
    "env=mountain_car_continuous": "'env.id=MountainCarContinuous-v0'",
    "env=my_lab.tracks:Track-v0": "'env.id=my_lab.tracks:Track-v0'",
    "env=MinAtar/Breakout-v1": "'env=minatar/breakout'",
    "env=breakout": "'env=atari/breakout or env=minatar/breakout'",
    "env=hoper": "'hopper'",
    # numbers
    "total_steps=1M": "'total_steps=1000000'",
    "total_steps=2.5m": "'total_steps=2500000'",
    "total_steps=300k": "'total_steps=300000'",
    "total_steps=10^6": "'total_steps=1000000'",
    "algo.buffer_size=1M": "'algo.buffer_size=1000000'",
    "seed=1-5": '-m "seed=range(1,6)"',
    "seed=1..5": '-m "seed=range(1,6)"',
    "seed=[0,1,2]": '-m "seed=0,1,2"',
}


@pytest.mark.quick_cases(21)
@pytest.mark.parametrize("mistake", SUGGESTIONS)
def test_suggestions(mistake: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_override(mistake)
    line = str(refusal.value)
    assert line.startswith(mistake.partition("=")[0])
    assert line.endswith(f"{SUGGESTIONS[mistake]}?") or line.endswith(SUGGESTIONS[mistake])
    assert "\n" not in line


@pytest.mark.parametrize(
    ("mistake", "meant"),
    [
        (["--seed=1"], "--seed=1: expected seed=1"),
        (["--seed", "1"], "--seed: expected seed=1"),
        (["-algo", "td3"], "-algo: expected algo=td3"),
        (["--algo.gamma=0.9", "seed=1"], "--algo.gamma=0.9: expected algo.gamma=0.9"),
        (["seed=1", "--retry"], "--retry: expected retry=..."),
    ],
)
def test_settings_written_like_options(
    mistake: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(mistake) == 2
    assert capsys.readouterr().err == f"error: {meant}\n"


@pytest.mark.parametrize("number", ["1e6", "1_000_000", "1000000", "1000000.0"])
def test_whole_numbers_that_are_read(number: str) -> None:
    text = check_override(f"total_steps={number}")
    assert int(text.partition("=")[2].replace("_", "")) == 1_000_000


@pytest.mark.parametrize("value", ["7", "1e6", "-1", "range(3)", "0,1", "abc", "1.5", "[", "null"])
def test_numbers_that_mean_no_other(value: str) -> None:
    assert suggest_number("seed", value) == ""


def test_what_is_suggested_is_there() -> None:
    """A setting that is renamed must not be suggested any more."""
    launchers = {"hydra.launcher.n_jobs"}
    for setting in ALIASES:
        key, _, choice = setting.partition("=")
        assert key in setting_types() or key in NODES or key in launchers
        assert choice in ("", "...") or choice in choices(key)
    for group, names in CHOICES.items():
        assert set(names.values()) <= set(choices(group))


@pytest.mark.parametrize(
    ("mistake", "meant"),
    [
        ("Hopper-v9", "Hopper-v5"),
        ("hopper-v4", "Hopper-v4"),
        ("cheetah", "HalfCheetah-v5"),
        ("my_lab:Track-v0", None),
        ("MyEnv-v0", None),
        ("Mine-v0", None),
        ("Race-v0", None),
        ("Trading-v1", None),
        ("CartPole-v9", "CartPole-v1"),
    ],
)
def test_ids(mistake: str, meant: str | None) -> None:
    """One's own id that nobody has registered was answered with CartPole-v0."""
    specs = gymnasium.registry.values()  # other tests register theirs
    ids = [spec.id for spec in specs if str(spec.entry_point).startswith("gymnasium.")]
    assert nearest_id(mistake, ids) == meant


def test_a_registered_id_of_ones_own() -> None:
    gymnasium.register("MyLab/Track-v0", "no_such_module:Track")
    with pytest.raises(UserError, match=r"did you mean 'env\.id=MyLab/Track-v0'\?$"):
        check_override("env=track")


def test_a_launcher_s_option_is_checked_with_the_launcher() -> None:
    joblib = "hydra/launcher=joblib"
    given = [joblib, "hydra.launcher.n_jobs=2", "hydra.sweep.dir=x", "seed=1"]
    assert check_overrides(given) == given
    either = "expected only with hydra/launcher=joblib or hydra/launcher=submitit_local"
    with pytest.raises(UserError, match=rf"^hydra.launcher.n_jobs: {either}$"):
        check_overrides(["hydra.launcher.n_jobs=2"])
    meant = r"did you mean 'hydra.launcher.n_jobs' with .*=joblib or .*=submitit_local\?$"
    with pytest.raises(UserError, match=rf"^hydra.launcher.njobs: no such option; {meant}"):
        check_overrides(["hydra.launcher.njobs=2"])
    with pytest.raises(
        UserError, match=r"partion: .*'hydra.launcher.partition' with .*=submitit_slurm"
    ):
        check_overrides(["hydra/launcher=basic", "hydra.launcher.partion=x"])
    with pytest.raises(UserError, match=r"njobs: .* did you mean 'hydra.launcher.n_jobs'\?$"):
        check_overrides([joblib, "hydra.launcher.njobs=2"])
    with pytest.raises(UserError, match=r"x_y: no such option; .*=joblib has n_jobs$"):
        check_overrides([joblib, "hydra.launcher.x_y=2"])
    assert check_overrides(["hydra/launcher=their_own", "hydra.launcher.x_y=2"])
