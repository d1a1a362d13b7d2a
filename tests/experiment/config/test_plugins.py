"""Components of one's own: a module outside the package, named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from unittest.mock import patch

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.builder import policy_arguments
from snnrl.experiment.config import choice_files, facts, plugins
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.help import help_text
from snnrl.experiment.config.label import settings_hash
from snnrl.experiment.config.nodes import NODES, setting_types
from snnrl.experiment.config.overrides import check_overrides
from snnrl.experiment.reproduction.own_code import check_unchanged, code_of
from snnrl.experiment.reproduction.provenance import collect, differences
from snnrl.experiment.reproduction.remake import Recorded, remake
from snnrl.experiment.run import run
from snnrl.nn import registry
from snnrl.train import main
from tests.experiment.helpers import arguments

SOURCE = '''
from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnrl.nn.losses import LossTerm, Pass
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import Norm
from snnrl.nn.registry import register
from snnrl.nn.regulations import Regulation
from snnrl.nn.surrogates import Surrogate
from snnrl.parameters import Above, AtLeast, Between


@register("neuron", "draining")
class Draining(Neuron):
    """Loses a share of its potential in each step.

    :param drain: share of the membrane potential lost in a step
    """

    def __init__(self, *, drain: Annotated[float, Between(0, 1)] = 0.25, **shared: Any):
        super().__init__(**shared)
        self.drain = drain

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        membrane = torch.zeros_like(x[0]) if state is None else state
        threshold, spikes = self.threshold.level(), []
        for step, current in enumerate(x):
            membrane = (1 - self.drain) * membrane + current
            spikes.append(self.surrogate(membrane, threshold, step))
            membrane = membrane - threshold * spikes[-1]
        return torch.stack(spikes), membrane


@register("surrogate", "arctan")
class Arctan(Surrogate):
    """The derivative of an arctan.

    :param width: half width at half height
    """

    def __init__(self, shape: Any, width: Annotated[float, Above(0)] = 0.5):
        super().__init__(shape)
        self.width = width

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        soft = torch.atan((membrane - threshold) / self.width)
        return (membrane > threshold).to(soft.dtype) + soft - soft.detach()


@register("norm", "centred")
@register("norm", "wide", start=2.0)
class Centred(Norm):
    """Takes away the mean over the features.

    :param start: first value of the gain
    """

    def __init__(self, shape: Any, threshold: float, start: Annotated[float, Above(0)] = 1.0):
        super().__init__(shape, threshold)
        self.gain = nn.Parameter(torch.full((), start))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(2, keepdim=True)) * self.gain


@register("regulation", "homeostat")
class Homeostat(Regulation):
    """Raises the threshold of a layer that spikes too much.

    :param target: firing rate in spikes per time step
    :param layers: of the network
    """

    def __init__(self, layers: int, target: Annotated[float, Between(0, 1)] = 0.2):
        super().__init__(layers)
        self.target = target
        self.register_buffer("gain", torch.ones(layers))

    def forward(self, rates: Tensor) -> Tensor:
        self.gain.add_(0.01 * (rates - self.target))
        return self.gain


@register("loss", "quiet")
class Quiet(LossTerm):
    """A price on spikes.

    :param price: of a spike of each neuron per time step
    """

    def __init__(self, price: Annotated[float, AtLeast(0)] = 0.01):
        super().__init__()
        self.price = price

    def forward(self, seen: Pass) -> Tensor:
        return self.price * torch.stack([r.mean() for r in seen.rates.values()]).mean()
'''

ALL = ["neuron=draining", "surrogate=arctan", "bn=centred", "regulation=homeostat", "loss=quiet"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``plugins=[...]`` of a module on the path; afterwards nobody knows of it."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "my_lab.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(
        registry, "_components", {k: {**v} for k, v in registry._components.items()}
    )
    for group, choices in facts.components().items():
        monkeypatch.setitem(facts.components(), group, {**choices})
        monkeypatch.setitem(NODES, group, {**NODES[group]})
        monkeypatch.setitem(ConfigStore.instance().repo, group, {})
    monkeypatch.setattr(plugins, "_loaded", set())
    monkeypatch.setattr(plugins, "_plugins_of", {})
    setting_types.cache_clear()
    yield "plugins=[my_lab]"
    sys.modules.pop("my_lab", None)
    setting_types.cache_clear()


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(choice_files, "_own_folders", [])
    yield tmp_path / "own"
    choice_files.environment_choice.cache_clear()


def test_all_five_are_typed_choices(plugin: str) -> None:
    given = [plugin, *ALL, "bn@critic.bn=wide", "critic=spiking", "neuron.drain=1e-1"]
    cfg = compose_config(check_overrides(given))
    check_settings(cfg)
    assert OmegaConf.to_container(cfg.neuron) == {
        "name": "draining",
        "threshold": 0.5,
        "drain": 0.1,
        "detach_reset": False,
    }
    assert (cfg.bn.start, cfg.critic.bn.start) == (1.0, 2.0)
    assert cfg.plugins == ["my_lab"]
    with patch("snnrl.experiment.builder.kernel_for", return_value="naive"):
        arguments = policy_arguments(cfg)
    assert arguments["regulation"] == {"name": "homeostat", "target": 0.2}
    assert arguments["losses"] == [{"name": "quiet", "price": 0.01}]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("neuron=draining neuron.drain=2", r"^neuron.drain=2.0: expected at most 1$"),
        ("neuron=draining neuron.drain=much", r"^neuron.drain=much: expected a number$"),
        ("neuron=drainin", r"^neuron=drainin: .*did you mean 'draining'\?$"),
        ("neuron.drian=1", r"^neuron.drian: no such setting; did you mean 'neuron.drain'\?$"),
        ("neuron=lif neuron.drain=1", r"^neuron.drain: expected only with neuron=draining$"),
        ("bn=centred bn.recalibrate_every=9", r"^bn.recalibrate_every=9: bn=centred keeps no"),
        ("actor=ann loss=quiet", r"^loss=quiet: has no effect"),
    ],
)
def test_mistakes(plugin: str, given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        check_settings(compose_config(check_overrides([plugin, *given.split()])))


def test_help_shows_them(plugin: str) -> None:
    check_overrides([plugin])
    text = help_text()
    assert "draining lif*" in text
    line = next(line for line in text.splitlines() if "neuron.drain=" in line)
    assert line.endswith("share of the membrane potential lost in a step [neuron=draining]")


def test_their_settings_are_in_the_hash(plugin: str) -> None:
    given = [[], ["neuron=draining"], ["neuron=draining", "neuron.drain=0.5"], ALL]
    assert len({settings_hash(compose_config([plugin, *each])) for each in given}) == 4


def test_the_order_of_plugins_is_not_in_the_hash(plugin: str, tmp_path: Path) -> None:
    (tmp_path / "modules" / "a_lab.py").write_text("")
    hashes = {
        given: settings_hash(compose_config([f"plugins=[{given}]", "neuron=draining"]))
        for given in ("my_lab", "a_lab,my_lab", "my_lab,a_lab", "my_lab,a_lab,my_lab")
    }
    assert hashes["a_lab,my_lab"] == hashes["my_lab,a_lab"] == hashes["my_lab,a_lab,my_lab"]
    assert hashes["my_lab"] != hashes["my_lab,a_lab"]
    # As it was when the order was in it.
    assert hashes["my_lab"] == "f559a875" and hashes["a_lab,my_lab"] == "8b71c1ac"


BRINGING = {
    "directly": "from my_lab import Draining",
    "a module": "import my_lab",
    "all of it": "from my_lab import *",
    "through its own": "from other_lab.parts import own",
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("text", BRINGING.values(), ids=BRINGING)
def test_a_choice_that_two_plugins_bring_needs_one_of_them(
    plugin: str, text: str, tmp_path: Path
) -> None:
    package = tmp_path / "modules" / "other_lab"
    package.mkdir()
    (package / "__init__.py").write_text(text)
    (package / "parts.py").write_text("from my_lab import Arctan\n\ndef own(): ...\n")
    (tmp_path / "modules" / "third_lab.py").write_text("import torch")
    compose_config([plugin])
    try:
        check_settings(compose_config(["plugins=[other_lab]", "neuron=draining"]))
        check_settings(compose_config(["plugins=[other_lab.parts]", "bn=centred"]))
        either = r"plugins=\[my_lab\] or plugins=\[other_lab\] or plugins=\[other_lab\.parts\]"
        with pytest.raises(UserError, match=rf"^surrogate=arctan: comes with {either}; expected"):
            check_settings(compose_config(["plugins=[third_lab]", "surrogate=arctan"]))
    finally:
        for name in ("other_lab", "other_lab.parts", "third_lab"):
            sys.modules.pop(name, None)


def test_a_choice_needs_its_plugin(plugin: str) -> None:
    """Another run of the process may have imported it."""
    with pytest.raises(UserError, match=r"neuron=draining: .* one of your own comes with plugins="):
        check_overrides(["neuron=draining"])
    compose_config([plugin])
    with pytest.raises(UserError, match=r"^bn=wide: comes with plugins=\[my_lab\]"):
        check_settings(compose_config(["critic=spiking", "bn@critic.bn=wide"]))


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("plugins=[no_such_lab]", r"^plugins=\[no_such_lab\]: cannot be imported \(ModuleNotFound"),
        ("plugins=[my-lab]", r"^plugins=\[my-lab\]: expected names of modules"),
        ("plugins=my_lab", r"^plugins=my_lab: expected one list"),
        ("plugins=[a],[b]", r"^plugins=\[a\],\[b\]: expected one list for all runs"),
        ("hydra.searchpath=[/no/such]", r"^hydra.searchpath: /no/such is not a folder"),
        ("hydra.searchpath=[pkg://lab]", r"^hydra.searchpath: pkg://lab is not a folder"),
    ],
)
def test_what_cannot_be_used(given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        check_overrides([given])


def test_a_name_that_is_taken(plugin: str, tmp_path: Path) -> None:
    taken = SOURCE.replace('"draining"', '"lif"')
    (tmp_path / "modules" / "my_lab.py").write_text(taken)
    with pytest.raises(UserError, match=r"^plugins=\[my_lab\]: neuron=lif: is snnrl"):
        compose_config([plugin])


def test_a_parameter_that_no_command_line_could_give(plugin: str, tmp_path: Path) -> None:
    odd = SOURCE.replace("Annotated[float, Between(0, 1)] = 0.25", "Any | set[int] = 0.25")
    (tmp_path / "modules" / "my_lab.py").write_text(odd)
    choices = {group: [*own] for group, own in facts.components().items()}
    # Asked again, the module is imported already, and the answer is the same.
    for _ in range(2):
        with pytest.raises(UserError) as refused:
            compose_config([plugin])
        named = "plugins=[my_lab]: neuron=draining: parameter drain: a setting cannot have the type"
        assert str(refused.value).startswith(named)
    assert choices == {group: [*own] for group, own in facts.components().items()}


def test_a_list_as_a_default(plugin: str, tmp_path: Path) -> None:
    for written, default in {"[]": [], "[2, 3]": [2, 3]}.items():
        source = SOURCE.replace("*, drain:", f"*, taps: list[int] = {written}, drain:")
        (tmp_path / "modules" / "my_lab.py").write_text(source)
        sys.modules.pop("my_lab", None)
        plugins._loaded.clear()
        for group in facts.components().values():
            group.pop("draining", None)
        registry._components["neuron"].pop("draining", None)
        given = [plugin, "neuron=draining"]
        first = compose_config(check_overrides(given))
        assert first.neuron.taps == default
        first.neuron.taps.append(7)
        assert compose_config(given).neuron.taps == default
        assert compose_config([*given, "neuron.taps=[1]"]).neuron.taps == [1]
        with pytest.raises(UserError, match=r"^neuron\.taps: expected a list"):
            compose_config([*given, "neuron.taps=1"])


def test_a_strangers_run_imports_nothing_that_is_not_named(plugin: str, tmp_path: Path) -> None:
    config = OmegaConf.to_container(compose_config([plugin, "neuron=draining"]))
    assert isinstance(config, dict)
    recorded = Recorded(tmp_path, {str(k): v for k, v in config.items()}, "", [{}])
    sys.modules.pop("my_lab")
    with pytest.raises(UserError, match=r"^plugins: my_lab would run; .* --module my_lab$"):
        remake(recorded, tmp_path)
    assert "my_lab" not in sys.modules
    cfg, overrides = remake(recorded, tmp_path, ["my_lab"])
    assert (cfg.neuron.name, cfg.neuron.drain) == ("draining", 0.25)
    assert plugin in overrides


def test_plugins_of_a_strangers_run_that_are_no_modules(tmp_path: Path) -> None:
    for odd in ("my_lab", [1], {"my_lab": 1}):
        with pytest.raises(UserError, match=r"^plugins=.*: expected a list of modules$"):
            remake(Recorded(tmp_path, {"plugins": odd}, "", [{}]), tmp_path, ["my_lab"])


def test_another_source_is_another_run(plugin: str, tmp_path: Path) -> None:
    compose_config([plugin])
    then = collect("naive", 1, 0, code_of(["my_lab"], {}))
    check_unchanged(then, code_of(["my_lab"], {}), tmp_path)
    (tmp_path / "modules" / "my_lab.py").write_text(f"{SOURCE}\n# Changed.\n")
    with pytest.raises(UserError, match=r"^plugins: the source of my_lab has changed since "):
        check_unchanged(then, code_of(["my_lab"], {}), tmp_path)
    now = collect("naive", 1, 0, code_of(["my_lab"], {}))
    assert [found.what for found in differences(then, now)] == ["source of my_lab"]
    # A run that began without its plugin, or whose record lost it.
    with pytest.raises(UserError, match=r"^plugins: the source of my_lab has changed"):
        check_unchanged({"sources": {}}, code_of(["my_lab"], {}), tmp_path)


def test_all_files_of_a_package_are_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lab_package"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts" / "one.py").write_text("A = 1")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load(["lab_package"])
    before = code_of(["lab_package"], {}).plugins
    (package / "parts" / "one.py").write_text("A = 2")
    assert code_of(["lab_package"], {}).plugins != before


def test_a_file_of_a_choice_in_a_folder_of_ones_own(plugin: str, own_folder: Path) -> None:
    (own_folder / "neuron").mkdir(parents=True)
    (own_folder / "neuron" / "draining.yaml").write_text(
        dedent("""\
        defaults:
          - /schema/neuron/draining@_here_
          - _self_
        drain: 0.75
        """)
    )
    given = [f"hydra.searchpath=[{own_folder}]", plugin, "neuron=draining"]
    assert compose_config(check_overrides(given)).neuron.drain == 0.75


def test_environments_and_experiments_of_ones_own(own_folder: Path) -> None:
    for group, values in {
        "env": {"id": "Pendulum-v1", "kwargs": {"g": 9.0}},
        "experiment": {"total_steps": 77, "experiment_name": "mine"},
    }.items():
        (own_folder / group).mkdir(parents=True)
        head = "# @package _global_\n" if group == "experiment" else ""
        (own_folder / group / "mine.yaml").write_text(head + yaml.safe_dump(values))
    search = f"hydra.searchpath=[file://{own_folder}]"
    overrides = check_overrides([search, "env=mine", "experiment=mine"])
    cfg = compose_config(overrides)
    assert (cfg.env.id, cfg.env.kwargs, cfg.total_steps) == ("Pendulum-v1", {"g": 9.0}, 77)
    assert "mine" in choice_files.choices("env")
    with pytest.raises(UserError, match=r"did you mean 'mine'"):
        check_overrides([search, "experiment=mien"])


def test_the_command_takes_folders_and_plugins(
    plugin: str, own_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "env").mkdir(parents=True)
    (own_folder / "env" / "mine.yaml").write_text("id: Pendulum-v1")
    given = [f"--config-dir={own_folder}", plugin, f"results_dir={tmp_path}"]
    assert main([*given, "env=mien"]) == 2
    assert "did you mean 'mine'?" in capsys.readouterr().err
    assert main([*given, "env=mine", "neuron=draining", "kernel=naive", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["env"]["id"], shown["neuron"]["drain"]) == ("Pendulum-v1", 0.25)
    assert shown["plugins"] == ["my_lab"]
    assert main(["--config-dir", str(tmp_path / "none"), "seed=1"]) == 2
    assert "none is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "chosen", [ALL[:3], pytest.param(ALL, marks=pytest.mark.slow)], ids=["three", "all"]
)
def test_training(plugin: str, chosen: list[str], tmp_path: Path) -> None:
    given = [plugin, *chosen, "bn.recalibrate_every=null", "kernel=naive", "env=pendulum"]
    given += ["total_steps=30", "algo.learning_starts=10", "evaluation.episodes=1"]
    overrides = check_overrides(arguments(tmp_path, *given))
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        result = run(compose_config(overrides), overrides)
    assert (result.folder / "DONE").exists()
    written = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert written["plugins"] == ["my_lab"]
    longer = [text for text in overrides if not text.startswith("total_steps=")]
    longer.append("total_steps=40")
    (tmp_path / "modules" / "my_lab.py").write_text(f"{SOURCE}\n# Changed.\n")
    with pytest.raises(UserError, match=r"^plugins: the source of my_lab has changed since "):
        run(compose_config(longer), longer)
