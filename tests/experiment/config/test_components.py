"""Settings that are the parameters of constructors."""

from __future__ import annotations

from dataclasses import fields

import pytest
from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.builder import policy_arguments
from snnrl.experiment.config import facts
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.choices import strategy_arguments
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.overrides import check_overrides
from snnrl.experiment.config.schema import PLACES, SpikingActorConfig
from snnrl.experiment.config.validate import validate
from snnrl.nn.lateral import LATERALS
from snnrl.nn.norm import make_strategy
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.shape import LayerShape
from snnrl.run_format.settings import CAME_LATER, SCHEDULES


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", ["tdbn", "bntt"])
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (["bn.rule=confidence", "bn.recalibrate_every=5000"], ""),
        (["bn.rule=confidence", "bn.smoothing=0.5"], ""),
        (["bn.momentum=0.5"], ""),
        (["bn.smoothing=0.5"], r"^bn.smoothing=0.5: has no effect with bn=\w+, whose rule is ema"),
        (["bn.rule=confidence", "bn.momentum=0.5"], r"^bn.momentum=0.5: has no effect .*confiden"),
        (["bn.rule=none"], r"^bn.rule=none: expected one of ema, confidence"),
        (["bn.recalibrate_every=auto"], "expected a number of environment steps, or null"),
    ],
)
def test_rules_of_other_normalisations(bn: str, given: list[str], refused: str) -> None:
    cfg = compose_config([f"bn={bn}", *given])
    if not refused:
        check_settings(cfg)
        return
    with pytest.raises(UserError, match=refused):
        check_settings(cfg)


AUTO = "bn.effective_n=auto"
KALMAN = "bn.confidence=kalman"


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (KALMAN, ""),
        (f"bn=tdbn bn.rule=confidence {KALMAN} {AUTO}", ""),
        (f"bn=bntt bn.rule=confidence {KALMAN} bn.process_noise=0", ""),
        ("critic=spiking critic.bn.confidence=corrected critic.bn.effective_n=auto", ""),
        (f"algo=ppo bn=ca_only {KALMAN} {AUTO}", ""),
        ("bn.confidence=kalmn", r"^bn.confidence=kalmn: expected one of .*'kalman'\?$"),
        (f"bn=vanilla {KALMAN}", r"^bn.confidence=kalman: has no effect with bn=vanilla, whose"),
        (f"bn=none {KALMAN}", r"^bn.confidence: expected only with bn=.*carebn"),
        (f"algo=ppo {KALMAN}", r"^bn.confidence=kalman: has no effect .*recalibrate_every=null$"),
        ("bn.process_noise=1", r"^bn.process_noise=1.0: has no effect .*bn.confidence=kalman$"),
        (f"{KALMAN} bn.process_noise=-1", r"^bn.process_noise=-1.0: expected at least 0"),
        (f"{KALMAN} bn.process_noise=1 bn.smoothing=0.5", r"^bn.smoothing=0.5: has no effect"),
        (f"bn=vanilla {AUTO}", r"^bn.effective_n=auto: has no effect with bn=vanilla"),
        (f"bn=bntt bn.rule=confidence {AUTO}", r"^bn.effective_n=auto: expected a number or null$"),
        (f"bn=tab bn.rule=confidence {AUTO}", r"^bn.effective_n=auto: expected a number or null$"),
        (f"{AUTO} actor.time_steps=1", r"^bn.effective_n=auto: one .* actor.time_steps=2 or more$"),
        (
            "critic=spiking critic.bn.effective_n=auto critic.time_steps=1",
            r"^critic.bn.effective_n=auto: one .* expected a number, null, or critic.time_steps=2",
        ),
        ("bn.effective_n=fast", r"^bn.effective_n=fast: expected a number, null or auto"),
        ("bn.effective_n=atuo", r"^bn.effective_n=atuo: .*; did you mean 'auto'\?$"),
        ("bn.effective_n=0", r"^bn.effective_n=0.0: expected more than 0$"),
        ("bn.effective_n=-3", r"^bn.effective_n=-3.0: expected more than 0$"),
        ("bn.effective_n=inf", r"^bn.effective_n=inf: expected a finite number$"),
        ("bn.effective_n=[1]", r"^bn.effective_n=\[1\]: expected a number or null or auto$"),
        ("bn.effective_n=true", r"^bn.effective_n=True: expected a number or null or auto$"),
    ],
)
def test_variants_of_the_confidence_rule(given: str, refused: str) -> None:
    if not refused:
        check_settings(compose_config(check_overrides(given.split())))
        return
    with pytest.raises(UserError, match=refused):
        check_settings(compose_config(check_overrides(given.split())))


def test_an_integer_is_the_float_that_it_was() -> None:
    """Hashes of recorded runs hold it."""
    whole, broken = (compose_config([f"bn.effective_n={n}"]) for n in ("9", "9.0"))
    assert isinstance(whole.bn.effective_n, float)
    assert settings_hash(whole) == settings_hash(broken)
    assert isinstance(compose_config(["experiment=carebn/dqn_atari_ram"]).bn.effective_n, float)
    given = compose_config(["critic=spiking", "critic.bn.effective_n=3", "bn.effective_n=auto"])
    assert (repr(given.critic.bn.effective_n), given.bn.effective_n) == ("3.0", "auto")


def test_variants_reach_the_layers() -> None:
    cfg = compose_config([KALMAN, "bn.process_noise=0.1", AUTO, "kernel=naive"])
    given = policy_arguments(cfg)["bn"]
    assert (given["confidence"], given["process_noise"]) == ("kalman", 0.1)
    assert given["effective_n"] == "auto"


def test_a_rule_that_a_name_says_is_another_choice() -> None:
    with pytest.raises(UserError, match=r"^bn.rule=ema: does not fit bn=carebn; .* bn=re_only"):
        check_settings(compose_config(["bn=carebn", "bn.rule=ema"]))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("given", "owners"),
    [
        ("bn=vanilla bn.alpha=2", "bn=tdbn"),
        ("bn=layernorm bn.momentum=0.5", "bn=bntt or ca_only or carebn or mpbn"),
        ("critic=spiking bn@critic.bn=vanilla critic.bn.alpha=2", "bn@critic.bn=tdbn"),
        ("surrogate=triangle surrogate.highest=3", "surrogate=learnable"),
        ("surrogate=learnable surrogate.scale_end=3", "surrogate=atan or fast_sigmoid or rect"),
    ],
)
def test_a_parameter_of_another_choice(given: str, owners: str) -> None:
    with pytest.raises(UserError, match=f": expected only with {owners}"):
        compose_config(given.split())


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("bn=tdbn bn.alpha=0", "bn.alpha=0.0: expected more than 0"),
        ("surrogate=learnable surrogate.lowest=-1", "surrogate.lowest=-1.0: expected more than 0"),
        ("surrogate.scale_end=0", "surrogate.scale_end=0.0: expected more than 0"),
        ("bn=layernorm bn.recalibrate_every=500", "bn=layernorm keeps no statistics"),
    ],
)
def test_bounds_are_the_constructors(given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        check_settings(compose_config(given.split()))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("actor=ann loss=rate", "loss=rate: has no effect with actor=ann"),
        ("actor=ann critic=spiking loss=rate", "loss=rate: has no effect with actor=ann"),
        ("actor=ann loss=balance", "loss=balance: has no effect with actor=ann"),
        ("loss=rates", "loss=rates: expected one of balance, none, rate; did you mean 'rate'"),
        ("loss=rate loss.side=below", "loss.side=below: expected one of both, above"),
        ("loss=balance loss.side=above", "loss.side: expected only with loss=rate"),
        ("loss=rate loss.target=2", "loss.target=2.0: expected at most 1"),
        ("loss.weight=2", "loss.weight: expected only with loss=balance or rate"),
        ("regulation=rate", "regulation=rate: expected one of ahsar, none"),
        ("actor=ann regulation=ahsar", "regulation=ahsar: has no effect with actor=ann"),
        (
            "actor=ann critic=spiking regulation=ahsar",
            "regulation=ahsar: has no effect with actor=ann",
        ),
        (
            "regulation=ahsar regulation.diffusion=0.3",
            r"regulation\.diffusion=0\.3: expected at most 0\.25",
        ),
        ("regulation.step=1", "regulation.step: expected only with regulation=ahsar"),
    ],
)
def test_losses_and_regulations_that_do_not_fit(given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        check_settings(compose_config(check_overrides(given.split())))


def test_losses_and_regulations_reach_the_policy() -> None:
    cfg = compose_config(["loss=rate", "loss.target=0.2", "kernel=naive"])
    given = policy_arguments(cfg)
    rate = {"name": "rate", "weight": 0.1, "target": 0.2, "side": "both"}
    assert given["losses"] == [rate]
    assert not {"losses", "regulation"} & policy_arguments(compose_config([])).keys()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "dqn", "ppo"])
def test_a_membrane_readout_reaches_the_policy(algo: str) -> None:
    words = ["actor.readout=membrane", "actor.membrane_value=mean", "actor.membrane_decay=0.5"]
    cfg = compose_config([f"algo={algo}", *words])
    check_settings(cfg)
    expected = {"name": "membrane", "value": "mean", "decay": 0.5}
    assert policy_arguments(cfg)["readout"] == expected
    assert label(cfg).endswith("-".join(words))


def test_lateral_connections_reach_the_policy() -> None:
    cfg = compose_config(["actor.lateral=intra_no_self", "critic=spiking"])
    check_settings(cfg)
    assert policy_arguments(cfg)["lateral"] == "intra_no_self"
    assert "-actor.lateral=intra_no_self" in label(cfg)
    (field,) = (each for each in fields(SpikingActorConfig) if each.name == "lateral")
    assert field.metadata["choices"] == ("none", *LATERALS)


def test_those_of_the_critic_reach_the_policy() -> None:
    cfg = compose_config(["critic=spiking", "loss@critic.loss=rate", "critic.loss.target=0.3"])
    check_settings(cfg)
    given = policy_arguments(cfg)
    assert given["critic"]["losses"] == [
        {"name": "rate", "weight": 0.1, "target": 0.3, "side": "both"}
    ]
    assert "losses" not in given
    assert label(cfg).endswith("-critic_spiking_carebn_rate-critic.loss.target=0.3")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("place", ["loss@critic.loss", "regulation@critic.regulation"])
def test_an_empty_place_of_the_critic_has_one_hash(place: str) -> None:
    plain, written = (
        compose_config(["critic=spiking", *given]) for given in ([], [f"{place}=none"])
    )
    assert written == plain
    before = OmegaConf.masked_copy(plain.critic, ["name", "hidden", "bn", "time_steps"])
    OmegaConf.set_struct(plain, False)
    assert settings_hash(OmegaConf.merge(plain, {"critic": before})) == settings_hash(written)
    del plain.critic.loss, plain.critic.regulation
    assert settings_hash(plain) == settings_hash(written)


def test_settings_that_came_later_came_in_every_place() -> None:
    for place, group in PLACES.items():
        for key, value in CAME_LATER.items():
            if key.rpartition(".")[0] == group and not key.endswith(".name"):
                assert CAME_LATER[f"{place}.{key.rpartition('.')[2]}"] == value


def test_no_loss_and_no_regulation_leave_the_hash_as_it_was() -> None:
    cfg = compose_config([])
    assert settings_hash(compose_config(["loss=rate"])) != settings_hash(cfg)
    OmegaConf.set_struct(cfg, False)
    before = OmegaConf.create(
        {key: value for key, value in cfg.items() if key not in ("loss", "regulation")}
    )
    assert settings_hash(before) == settings_hash(cfg)


def test_the_published_confidence_leaves_the_hash_as_it_was() -> None:
    cfg = compose_config(["critic=spiking"])
    hashes = {
        settings_hash(compose_config(["critic=spiking", f"{place}.confidence=kalman"]))
        for place in ("bn", "critic.bn")
    }
    assert len({*hashes, settings_hash(cfg)}) == 3
    before = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(before, DictConfig)
    for bn in (before.bn, before.critic.bn):
        del bn["confidence"], bn["process_noise"]
    assert settings_hash(before) == settings_hash(cfg)


def without(key: str, *settings: str) -> DictConfig:
    """A configuration of a version that did not have the setting yet."""
    before = OmegaConf.create(OmegaConf.to_container(compose_config(settings)))
    assert isinstance(before, DictConfig)
    group, _, name = key.partition(".")
    del before[group][name]
    return before


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("key", "settings", "other"),
    [
        ("surrogate.scale_end", ["surrogate=triangle"], "surrogate.scale_end=2"),
        ("loss.side", ["loss=rate"], "loss.side=above"),
        ("encoder.mean_range", ["algo=td3"], "encoder.mean_range=3"),
        ("encoder.std", ["algo=td3"], "encoder.std=0.387"),
        ("encoder.squash", ["algo=td3"], "encoder.squash=false"),
        ("actor.membrane_value", ["actor.readout=membrane"], "actor.membrane_value=max"),
        ("actor.membrane_decay", ["actor.readout=membrane"], "actor.membrane_decay=0.5"),
        ("actor.lateral", [], "actor.lateral=intra"),
        ("algo.normalize_observations", ["algo=dqn"], "algo.normalize_observations=true"),
        (
            "algo.clip_observations",
            ["algo=sac", "algo.normalize_observations=true"],
            "algo.clip_observations=5",
        ),
    ],
)
def test_a_setting_that_came_later_leaves_the_hash_as_it_was(
    key: str, settings: list[str], other: str
) -> None:
    now = settings_hash(compose_config(settings))
    assert settings_hash(without(key, *settings)) == now
    assert settings_hash(compose_config([*settings, other])) != now


def test_a_choice_that_ppo_had_from_the_start_stays_in_its_hash() -> None:
    """Of runs of PPO whose observations are not normalised, as in the comparison with SB3."""
    cfg = compose_config(["algo=ppo", "algo.normalize_observations=false"])
    assert settings_hash(without("algo.normalize_observations", "algo=ppo")) != settings_hash(cfg)
    assert settings_hash(compose_config(["algo=ppo"])) != settings_hash(cfg)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (["surrogate=atan", "surrogate.scale_end=5"], True),
        pytest.param(["surrogate=learnable"], False, marks=pytest.mark.slow),
        pytest.param(
            ["actor=ann", "bn=none", "surrogate.scale_end=5"], False, marks=pytest.mark.slow
        ),
    ],
)
def test_the_length_of_a_run_counts_where_a_schedule_spans_it(
    settings: list[str], counts: bool
) -> None:
    cfg = compose_config(settings)
    longer = OmegaConf.merge(cfg, {"total_steps": cfg.total_steps + 1})
    assert isinstance(longer, DictConfig)
    assert (settings_hash(longer) != settings_hash(cfg)) is counts


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("kernel=native neuron=alif", "^kernel=native: has no operator for "),
        (
            "kernel=native neuron=alif actor=ann critic=spiking",
            "^kernel=native: has no operator for ",
        ),
        ("surrogate=learnable surrogate.scale=20", r"^surrogate\.scale=20\.0: expected between"),
        ("surrogate.scale_end=0.5", r"^surrogate\.scale_end=0\.5: is surrogate\.scale, so nothing"),
    ],
)
def test_a_surrogate_that_does_not_fit_is_refused_at_composition(given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        validate(compose_config(["env=pendulum", *given.split()]))


def test_a_parameter_makes_another_hash() -> None:
    hashes = {settings_hash(compose_config(["bn=tdbn", f"bn.alpha={a}"])) for a in (1, 2)}
    assert len(hashes) == 2


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (
            "env=inverted_pendulum bn=groupnorm bn.groups=7 actor.hidden=[7,14]",
            "^bn.groups=7: .* layer of 10 features; expected one of 1, 2, 5, 10$",
        ),
        (
            "env=inverted_pendulum bn=groupnorm actor.hidden=[64,3]",
            "^bn.groups=2: .* 3 features; expected one of 1, 3$",
        ),
        (
            "env=inverted_pendulum critic=spiking bn@critic.bn=groupnorm critic.bn.groups=4 "
            "critic.hidden=[64,6]",
            "^critic.bn.groups=4: .* 6 features; expected one of 1, 2, 3, 6$",
        ),
        (
            "algo=ppo env=cartpole bn=groupnorm bn.groups=8",
            "^bn.groups=8: .* layer of 20 features; expected one of 1, 2, 4, 5, 10, 20$",
        ),
        (
            "algo=dqn env=cartpole actor.readout=population bn=groupnorm bn.groups=8",
            "^bn.groups=8: .* layer of 20 features",
        ),
        (
            "algo=ppo env=inverted_pendulum bn=renorm bn.warmup=5",
            "^bn.warmup=5: has no effect with algo=ppo, .* expected only with algo=td3 or algo=",
        ),
        (
            "bn=mpbn kernel=native env=inverted_pendulum",
            "^kernel=native: .* normalisation; expected kernel=compile",
        ),
        (
            "env=inverted_pendulum critic=spiking bn@critic.bn=mpbn kernel=native",
            "^kernel=native: .* normalisation; expected kernel=compile",
        ),
        (
            "env=inverted_pendulum regulation=ahsar regulation.lowest=0.3",
            r"^regulation\.lowest=0\.3: expected less than regulation\.highest=0\.2$",
        ),
        (
            "env=inverted_pendulum critic=spiking regulation@critic.regulation=ahsar "
            "critic.regulation.lowest=0.3",
            r"^critic\.regulation\.lowest=0\.3: expected less than regulation\.highest=0\.2$",
        ),
    ],
)
def test_components_that_the_networks_cannot_have(given: str, refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        validate(compose_config(given.split()))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bn", ["tebn", "bntt", "tab", "mpbn", "tdbn", "renorm"])
def test_pooling_rule_and_affine_map_compose(bn: str) -> None:
    cfg = compose_config([f"bn={bn}", "bn.rule=confidence", "bn.recalibrate_every=5000"])
    check_settings(cfg)
    strategy = make_strategy(strategy_arguments(cfg.bn))
    layer = strategy.make(LayerShape(3, 5), 0.5)
    assert isinstance(layer.update, ConfidenceUpdate)
    assert layer.update.gain_mean.shape == layer.moving_mean.shape
    assert strategy.recalibrate_every == 5_000


def test_what_has_a_schedule_is_known_where_runs_are_compared() -> None:
    known = facts.components()
    scheduled = {
        f"{group}.{setting}"
        for group, components in known.items()
        for component in components.values()
        for setting in component.schedules
    }
    assert scheduled == set(SCHEDULES)
