"""Each mistake: exit status 2, one line that names the key, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from snnrl.train import main
from tests.experiment.helpers import arguments

MISTAKES = {
    # choices
    "bn=carbn": ["bn=carbn", "vanilla", "did you mean 'carebn'?"],
    "algo=td4": ["algo=td4", "did you mean 'td3'?"],
    "env=halfcheetah": ["env=halfcheetah", "did you mean 'half_cheetah'?"],
    "neuron=liff": ["neuron=liff", "did you mean 'lif'?"],
    "kernel=tritn": ["kernel=tritn", "did you mean 'triton'?"],
    "kernel=triton": ["kernel=triton", "a CUDA device", "kernel=native"],
    "bn=": ["bn=", "carebn"],
    "bn=null": ["bn=null", "carebn"],
    "experiment=null": ["experiment=null: expected a choice; leave it out for none"],
    "experiment=carebn/tdd3": ["experiment=", "did you mean 'carebn/td3'?"],
    # keys
    "foo=1": ["foo", "--help"],
    "algo.batch_siz=8": ["algo.batch_siz", "did you mean 'algo.batch_size'?"],
    "batch_size=8": ["batch_size", "did you mean 'algo.batch_size'?"],
    "learning_rat=1": ["learning_rat", "did you mean 'algo.learning_rate'?"],
    "algo.critic_weight_decay=1": ["algo.critic_weight_decay", "algo=ddpg"],
    "algo.critic_learning_rate=0": ["algo.critic_learning_rate=0", "more than 0"],
    "algo.name=ddpg": ["algo.name", "algo=..."],
    "env@foo=pendulum": ["env@foo"],
    "+foo=1": ["foo", "--help"],
    "++foo=1": ["foo", "--help"],
    "+bn.foo=1": ["bn.foo"],
    "~seed": ["~seed", "key=value"],
    "~bn": ["~bn", "key=value"],
    # types
    "seed=abc": ["seed=abc", "an integer"],
    "seed=1.5": ["seed=1.5", "an integer"],
    "seed=true": ["seed=", "an integer"],
    "seed=null": ["seed=null", "a value"],
    "seed=": ["seed=", "an integer"],
    "seed=${foo}": ["foo"],
    "total_steps=1.2.3": ["total_steps=1.2.3", "an integer"],
    "total_steps=1e400": ["total_steps=inf", "an integer"],
    "algo.gamma=much": ["algo.gamma=much", "a number"],
    "neuron.detach_reset=perhaps": ["neuron.detach_reset=perhaps", "true or false"],
    "actor.hidden=8": ["actor.hidden", "a list"],
    "actor.hidden=[8,abc]": ["actor.hidden[1]=abc", "an integer"],
    "actor.hidden=null": ["actor.hidden=null", "a value"],
    "results_dir=": ["results_dir=", "a value"],
    'results_dir="~/runs"': ["results_dir=~/runs", "$HOME"],
    "results_dir=~/runs": ["results_dir=~/runs", """'key="value"'"""],
    # sizes and numbers
    "total_steps=-5": ["total_steps=-5", "at least 1"],
    "total_steps=0": ["total_steps=0", "at least 1"],
    "threads=0": ["threads=0", "at least 1"],
    "seed=-1": ["seed=-1", "at least 0"],
    "seed=99999999999": ["seed=99999999999", "at most"],
    "actor.hidden=[]": ["actor.hidden=[]", "at least one"],
    "actor.hidden=[8,0]": ["actor.hidden=0", "at least 1"],
    "algo.batch_size=1": ["algo.batch_size=1", "at least 2"],
    "algo.gamma=1.1": ["algo.gamma=1.1", "at most 1"],
    "algo.tau=0": ["algo.tau=0", "more than 0"],
    "evaluation.every=0": ["evaluation.every=0", "at least 1"],
    "evaluation.episodes=-1": ["evaluation.episodes=-1", "at least 1"],
    "bn.recalibrate_every=0": ["bn.recalibrate_every=0", "at least 1"],
    "bn.recalibrate_every=1.5": ["bn.recalibrate_every=1.5", "an integer or null"],
    "bn.recalibrate_every=often": ["bn.recalibrate_every=often", "an integer, null or auto"],
    "bn.recalibrate_every=auto": ["bn.recalibrate_every=auto", "a number", "or null"],
    "algo.gradient_steps=0": ["algo.gradient_steps=0", "at least 1, or -1"],
    "algo.gradient_steps=-2": ["algo.gradient_steps=-2", "at least -1"],
    "env.n_envs=0": ["env.n_envs=0", "at least 1"],
    "env.n_envs=101": ["env.n_envs=101", "at most 100"],
    "env.n_envs=2 algo.buffer_size=1": ["algo.buffer_size=1", "env.n_envs=2"],
    "env.observation=rams": ["env.observation=rams", "did you mean 'ram'?"],
    "actor.readout=lin": ["actor.readout=lin", "did you mean 'linear'?"],
    "conv=minatar conv.strides=[0]": ["conv.strides=0", "at least 1"],
    "checkpoint.every=-10": ["checkpoint.every=-10", "at least 1"],
    "algo.learning_rate=nan": ["algo.learning_rate=nan", "finite"],
    "algo.learning_rate=inf": ["algo.learning_rate=inf", "finite"],
    "neuron=dn neuron.tv=nan": ["neuron.tv=nan", "finite"],
    "neuron=circulate_firing neuron.K=0": ["neuron.K=0", "at least 1"],
    "neuron=circulate_firing neuron.K=1.5": ["neuron.K=1.5", "an integer"],
    "neuron=circulate_firing neuron.rho=0": ["neuron.rho=0.0", "more than 0"],
    "neuron=circulate_firing neuron.rho=1.1": ["neuron.rho=1.1", "at most 1"],
    "neuron=circulate_firing neuron.signed=maybe": ["neuron.signed=maybe", "true or false"],
    "neuron=ternary neuron.K=2": ["neuron.K", "neuron=circulate_firing"],
    "neuron=plif neuron.decay=1": ["neuron.decay=1.0", "at most 0.999"],
    "neuron=plif neuron.learning_rate=0": ["neuron.learning_rate=0.0", "more than 0"],
    "neuron=alif neuron.beta=-1": ["neuron.beta=-1.0", "at least 0"],
    "neuron=plif kernel=native": ["kernel=native", "kernel=compile or naive"],
    "neuron=ternary kernel=native": ["kernel=native", "kernel=compile or naive"],
    "algo.buffer_size=1e18": ["algo.buffer_size=", "at most"],
    "algo.buffer_size=1e12": ["algo.buffer_size=", "memory"],
    "actor.hidden=[8,1e6,1e6]": ["actor.hidden=", "memory"],
    "actor.hidden=[1e9]": ["actor.hidden=1000000000", "at most"],
    "bn.momentum=0.2": ["bn.momentum=0.2", "no effect with bn=carebn"],
    "bn=vanilla bn.effective_n=9": ["bn.effective_n=9", "no effect with bn=vanilla"],
    "bn.target_stats=hrd": ["bn.target_stats=hrd", "soft", "did you mean 'hard'?"],
    "tracking.mode=off": ["tracking.mode=off", "did you mean 'offline'?"],
    # parts that do not fit together
    "env.id=HalfCheeta-v4": ["env.id=HalfCheeta-v4", "did you mean 'HalfCheetah-v4'?"],
    "env.id=no_such_package:Env-v0": ["env.id=no_such_package:Env-v0", "no_such_package"],
    "env.id=HalfCheetah-v2": ["env.id=HalfCheetah-v2"],
    "env=cartpole": ["algo=td3", "env.id=CartPole-v1", "Box"],
    "algo=ddpg env=cartpole critic=ann_late": ["algo=ddpg", "env.id=CartPole-v1", "Box"],
    "device=cuda": ["device=cuda", "device=cpu"],
    "device=cuda:7": ["device=cuda:7", "device=cpu"],
    "device=gpu": ["device=gpu", "cuda:N"],
    "device=mps": ["device=mps", "cuda:N"],
    "actor=ann bn=bntt": ["bn=bntt", "needs time steps", "carebn"],
    "bn@critic.bn=tdbn": ["bn@critic.bn=tdbn", "needs a firing threshold", "carebn"],
    "actor=ann actor.hidden=[8,9] bn=groupnorm": ["bn.groups=2", "9"],
    "bn@critic.bn=groupnorm critic.hidden=[7]": ["critic.bn.groups=2", "7"],
    "critic.bn.momentum=0.5": ["critic.bn.momentum", "bn@critic.bn="],
    "algo=ppo actor=ann bn=carebn bn.recalibrate_every=9": ["bn.recalibrate_every=9", "auto"],
    "actor=ann bn=layernorm bn.recalibrate_every=9": ["bn.recalibrate_every=9", "null"],
    "critic=ann_late": ["critic=ann_late", "critic=ann or critic=spiking"],
    "algo=ddpg critic=ann": ["critic=ann", "critic=ann_late or critic=spiking"],
    "algo=sac critic=ann_late": ["critic=ann_late", "algo=sac", "critic=ann"],
    "algo=dqn critic=ann": ["critic=ann", "algo=dqn", "critic=none"],
    "actor=ann critic=spiking bn=bntt": ["bn=bntt", "needs time steps", "carebn"],
    # a critic's own normalisation
    "algo=dqn bn@critic.bn=vanilla": ["bn@critic.bn", "critic=", "spiking"],
    "critic.bn.momentum=0.2": ["critic.bn", "critic=spiking"],
    "critic=spiking bn@critic.bn=carbn": ["bn@critic.bn=carbn", "did you mean 'carebn'?"],
    "critic=spiking critic.bn=carebn": ["critic.bn", "bn@critic.bn=..."],
    "critic=spiking critic.bn.name=carebn": ["critic.bn.name", "bn@critic.bn=..."],
    "critic=spiking critic.bn.momentm=1": ["critic.bn.momentm", "'critic.bn.momentum'"],
    "critic=spiking critic.bn.momentum=0.2": [
        "critic.bn.momentum=0.2",
        "no effect with bn@critic.bn=carebn",
    ],
    "critic=spiking critic.bn.rule=ema": ["critic.bn.rule=ema", "bn@critic.bn=vanilla"],
    "critic=spiking critic.bn.eps=0": ["critic.bn.eps=0", "more than 0"],
    "bn@critic=vanilla": ["bn@critic", "bn@critic.bn=..."],
    # a critic's own loss and regulation
    "loss@critic.loss=rate": ["loss@critic.loss", "critic=spiking"],
    "critic=spiking loss@critic.loss=rat": ["loss@critic.loss=rat", "did you mean 'rate'?"],
    "critic=spiking critic.loss.weight=1": ["critic.loss.weight", "loss@critic.loss=..."],
    "critic=spiking critic.loss=rate": ["critic.loss", "loss@critic.loss=..."],
    "critic=spiking loss@critic.loss=rate critic.loss.target=2": ["critic.loss.target=2", "most 1"],
    "regulation@critic.regulation=none": ["regulation@critic.regulation", "critic=spiking"],
    "actor=ann critic=spiking loss=rate": ["loss=rate", "loss@critic.loss=rate"],
    # encoders
    "encoder=latency actor.time_steps=1": ["encoder=latency", "time_steps=1", "at least 2"],
    "encoder=latency critic=spiking critic.time_steps=1": ["encoder=latency", "at least 2"],
    # observations and actions
    "algo=dqn env=pendulum": ["algo=dqn", "Pendulum-v1", "Discrete", "algo=ppo"],
    "algo=sac env=cartpole": ["algo=sac", "CartPole-v1", "Box", "algo=dqn or algo=ppo"],
    "algo=ppo env.id=Odd/MultiDiscrete-v0": ["algo=ppo", "Odd/MultiDiscrete-v0", "Box or Discrete"],
    "algo=ppo env.id=Odd/Dict-v0": ["Odd/Dict-v0", "Dict", "one-dimensional Box"],
    "algo=ppo env.id=Odd/Tuple-v0": ["Odd/Tuple-v0", "Tuple", "one-dimensional Box"],
    "algo=ppo env.id=Odd/Matrix-v0": ["Odd/Matrix-v0", "one-dimensional Box"],
    "algo=ppo env.id=Odd/Image-v0": ["conv=none", "conv=nature or conv=minatar"],
    "algo=ppo env.id=Odd/FloatImage-v0 conv=minatar": ["Odd/FloatImage-v0", "uint8"],
    "env.id=Odd/Camera-v0 conv=minatar": ["algo=td3", "images", "algo=dqn or algo=ppo"],
    "algo=ppo env.id=Odd/LastImage-v0 conv=minatar encoder=direct": [
        "Odd/LastImage-v0",
        "channels come last",
    ],
    "algo=ppo env.id=Odd/Whole-v0": ["Odd/Whole-v0", "floating-point"],
    "env.id=Odd/Nothing-v0": ["Odd/Nothing-v0", "at least one"],
    "env.id=ale_py:ALE/Pong-v5": ["env.id=ale_py:ALE/Pong-v5", "expected ALE/<Game>-v5"],
    "algo=ppo env.id=Odd/Image-v0 conv=minatar": ["encoder=population", "encoder=direct"],
    "algo=ppo env.id=Odd/Image-v0 conv=nature encoder=direct": ["conv.kernels=", "1 x 2"],
    "algo=ppo env.id=Odd/Image-v0 conv=minatar encoder=direct conv.channels=[4,4]": [
        "conv.channels has 2",
        "conv.kernels has 1",
        "same number",
    ],
    "algo=ppo conv=minatar": ["conv=minatar", "vector", "conv=none"],
    "conv.channels=[4]": ["conv.channels", "conv=nature or minatar"],
    "env.observation=ram": ["env.observation=ram", "default"],
    # the settings of an algorithm
    "algo=ppo bn.recalibrate_every=500": ["bn.recalibrate_every=500", "once per rollout", "auto"],
    "algo=ppo critic=spiking critic.bn.recalibrate_every=500": ["critic.bn.recalibrate_every=500"],
    "algo=ppo bn.recalibrate_every=often": ["bn.recalibrate_every=often", "null or auto"],
    "algo=ppo bn.smoothing=0.5": ["bn.smoothing=0.5", "no effect with algo=ppo"],
    "algo=ppo bn.effective_n=9": ["bn.effective_n=9", "bn.recalibrate_every=null"],
    "algo=ppo bn=re_only bn.momentum=0.5": ["bn.momentum=0.5", "no effect with algo=ppo"],
    "algo=ppo bn.recalibrate_batches=9": ["bn.recalibrate_batches=9", "no effect with algo=ppo"],
    "algo=ppo bn=vanilla bn.target_stats=hard": [
        "bn.target_stats=hard",
        "no effect with algo=ppo",
        "algo=td3 or algo=ddpg or algo=sac or algo=dqn",
    ],
    "algo=sac bn.refresh_kl=0.01": ["bn.refresh_kl=0.01", "no effect with algo=sac", "algo=ppo"],
    "critic=spiking critic.bn.refresh_kl=1": ["critic.bn.refresh_kl=1", "no effect with algo=td3"],
    "algo=ppo critic=spiking critic.bn.refresh_kl=1": ["critic.bn.refresh_kl=1", "critic chooses"],
    "algo=ppo bn=none bn.refresh_kl=0.01": ["bn.refresh_kl=0.01", "bn=none keeps no statistics"],
    "algo=ppo bn=layernorm bn.refresh_kl=0.01": ["bn.refresh_kl=0.01", "keeps no statistics"],
    "algo=ppo bn.refresh_kl=0": ["bn.refresh_kl=0", "more than 0"],
    "algo=ppo bn.refresh_kl=-1": ["bn.refresh_kl=-1", "more than 0"],
    "algo=ppo bn.refresh_kl=nan": ["bn.refresh_kl=nan", "finite"],
    "algo=ppo bn.refresh_kl=auto": ["bn.refresh_kl=auto", "a number or null"],
    "algo=ppo bn.refreshkl=0.01": ["bn.refreshkl", "did you mean 'bn.refresh_kl'?"],
    "algo=ppo critic=spiking critic.bn.smoothing=0.5": [
        "critic.bn.smoothing=0.5",
        "critic.bn.recalibrate_every=null",
    ],
    "algo=dqn actor.population=3": ["actor.population=3", "actor.readout=population"],
    "actor.readout=linear actor.population=3": ["actor.population=3", "actor.readout=linear"],
    "actor.membrane_value=max": ["actor.membrane_value=max", "only with actor.readout=membrane"],
    "actor.readout=membrane actor.time_steps=1 actor.membrane_value=max": [
        "actor.membrane_value=max: has no effect with actor.time_steps=1"
    ],
    "actor.readout=membrane actor.time_steps=1 actor.membrane_decay=0.5": [
        "actor.membrane_decay=0.5: has no effect with actor.time_steps=1"
    ],
    "actor.lateral=intra actor.time_steps=1": [
        "actor.lateral=intra: its weights have no effect with actor.time_steps=1",
        "actor.lateral=intra_only_bias",
    ],
    "actor.lateral=intra_only_lateral actor.population=1": [
        "actor.lateral=intra_only_lateral: its weights have no effect with actor.population=1",
        "actor.lateral=none",
    ],
    "encoder.population=1 encoder.mean_range=3": [
        "encoder.mean_range=3.0: has no effect with encoder.population=1"
    ],
    "actor.membrane_decay=0.5": ["actor.membrane_decay=0.5", "only with actor.readout=membrane"],
    "algo=dqn actor.readout=membrane actor.membrane_value=maxi": ["did you mean 'max'?"],
    "actor.readout=membrane actor.membrane_decay=1.5": ["actor.membrane_decay=1.5", "at most 1"],
    "algo=dqn actor.lateral=intra": ["actor.lateral=intra", "actor.readout=population or membrane"],
    "actor.readout=linear actor.lateral=intra_only_bias": ["actor.readout=linear", "has none"],
    "actor.lateral=intra_no_bais": ["did you mean 'intra_no_bias'?"],
    "actor=ann actor.lateral=intra": ["actor.lateral", "actor=spiking"],
    "actor=ann actor.readout=membrane": ["actor.readout", "actor=spiking"],
    "algo.clip_observations=5": ["algo.clip_observations=5", "algo.normalize_observations=true"],
    "algo.normalize_observations=true algo.clip_observations=0": ["more than 0"],
    "algo=ppo algo.clip_observations=5": ["algo.clip_observations", "algo=td3 or ddpg or sac"],
    "algo=dqn env.id=Odd/Image-v0 conv=minatar encoder=direct algo.normalize_observations=true": [
        "algo.normalize_observations=true",
        "Odd/Image-v0",
        "uint8",
        "integers are not normalised",
    ],
    "algo=ppo algo.n_steps=20": ["algo.batch_size=8", "20", "such as 10"],
    "algo=ppo algo.n_steps=1e12 algo.batch_size=7": ["algo.batch_size=7", "such as 8"],
    "algo=ppo algo.n_steps=2": ["algo.batch_size=8", "such as 2"],
    "algo=ppo algo.n_steps=1": ["algo.n_steps=1", "at least 2"],
    "algo=ppo algo.n_steps=104": ["total_steps=100", "at least the 104 of a rollout"],
    "algo=ppo algo.tau=0.1": ["algo.tau", "algo=td3 or ddpg or sac"],
    "algo=ppo algo.buffer_size=9": ["algo.buffer_size", "algo=td3 or ddpg or sac or dqn"],
    "algo=sac algo.ent_coef=auto": ["algo.ent_coef=auto", "a number or null"],
    "algo=sac algo.ent_coef=0": ["algo.ent_coef=0", "more than 0"],
    "algo=dqn algo.loss=l2": ["algo.loss=l2", "huber, mse"],
    "algo=dqn algo.learning_starts=4": ["algo.learning_starts=4", "algo.replacement=true"],
    "algo=dqn algo.buffer_size=4": ["algo.buffer_size=4", "at least 8"],
    "algo=dqn critic.hidden=[8]": ["critic.hidden", "critic=ann"],
    "-m critic=spiking bn@critic.bn=carebn,foo": ["bn@critic.bn=foo", "carebn"],
    "algo.learning_starts=100": ["algo.learning_starts=100", "total_steps=100"],
    "bn.rule=ema": ["bn.rule=ema", "bn=vanilla"],
    "bn.rule=emma": ["bn.rule=emma", "did you mean 'ema'?"],
    "bn=none": ["bn.recalibrate_every=40", "null"],
    # syntax
    "=": ["=", "key=value"],
    "foo": ["foo", "key=value"],
    "seed=[": ["seed=[", "key=value"],
    "--foo": ["--foo", "--help"],
    "--cfg jobs": ["jobs", "--help"],
    "--config-name=foo": ["--config-name", "key=value"],
    "hydra.foo=1": ["hydra.foo"],
    "-m hydra/launcher=foo": ["hydra/launcher=foo", "joblib, ray"],
    # sweeps
    "seed=0,1": ["seed=0,1", "-m"],
    "-m seed=0,x": ["seed=x", "an integer"],
    "-m bn=carebn,foo": ["bn=foo", "carebn"],
    "-m actor=ann,spiking bn=bntt": ["bn=bntt", "needs time steps"],
    "-m bn=glob(*)": ["bn=glob(*)", "range(3)"],
    "-m seed=interval(0,1)": ["seed=interval(0,1)", "range(3)"],
    "-m seed=range(2,-1)": ["seed=range(2,-1)", "range(3)"],
}


BYTES = spaces.Box(0, 255, (3, 10, 12), np.uint8)
MOVE = spaces.Discrete(2)
ODD: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "MultiDiscrete": (spaces.Box(-1, 1, (3,)), spaces.MultiDiscrete([2, 2])),
    "Dict": (spaces.Dict({"a": MOVE}), MOVE),
    "Tuple": (spaces.Tuple([MOVE]), MOVE),
    "Matrix": (spaces.Box(-1, 1, (3, 3)), MOVE),
    "Image": (BYTES, MOVE),
    "Camera": (BYTES, spaces.Box(-1, 1, (2,))),
    "FloatImage": (spaces.Box(0, 1, (3, 10, 12)), MOVE),
    "LastImage": (spaces.Box(0, 1, (10, 10, 4), np.uint8), MOVE),
    "Whole": (spaces.Box(-1, 1, (3,)), spaces.Box(0, 3, (2,), np.int64)),
    "Nothing": (spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (0,))),
}


class Odd(gymnasium.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, name: str):
        self.observation_space, self.action_space = ODD[name]


@pytest.fixture(scope="module", autouse=True)
def _register() -> None:
    for name in ODD:
        gymnasium.register(f"Odd/{name}-v0", Odd, kwargs={"name": name})


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(
    mistake: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("sys.argv", ["train"])
    status = main(arguments(tmp_path / "results", *mistake.split(" ")))
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    for words in MISTAKES[mistake]:
        assert words in line
    assert status == 2
    assert "Traceback" not in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("inside", ["", "deeper"])
def test_results_dir_that_is_a_file(
    inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(arguments(file / inside)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"results_dir={file}" in line
    assert file.read_text() == "mine"


def test_results_dir_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(arguments(tmp_path / "results")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"results_dir={tmp_path / 'results'}" in line
    assert "Permission denied" in line
