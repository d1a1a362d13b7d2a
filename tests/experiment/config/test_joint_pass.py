"""``algo.joint_pass`` and ``algo.target_networks`` in configurations."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.reproduction.remake import Recorded, remake

EARLIER = {"actor=ann": "ba7791e2", "algo=ddpg": "d1b2d227", "algo=sac": None}
JOINT = ["algo.joint_pass=true", "algo.target_networks=false"]
RENORM = ["bn@critic.bn=renorm"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("settings", EARLIER)
def test_the_hash_of_earlier_runs_stays(settings):
    cfg = compose_config([settings])
    earlier = OmegaConf.to_container(cfg)
    del earlier["algo"]["joint_pass"], earlier["algo"]["target_networks"]
    assert settings_hash(OmegaConf.create(earlier)) == settings_hash(cfg)
    assert settings_hash(cfg) == (EARLIER[settings] or settings_hash(cfg))
    changed = [compose_config([settings, *given]) for given in (JOINT[1:], [*JOINT, *RENORM])]
    assert len({settings_hash(each) for each in (cfg, *changed)}) == 3
    assert "algo.joint_pass=True" in label(changed[1])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac"])
@pytest.mark.parametrize("critic", [[], ["critic=spiking"]])
def test_it_fits_and_its_record_gives_it_again(algo, critic):
    cfg = compose_config([f"algo={algo}", *critic, *JOINT, *RENORM])
    check_settings(cfg)
    recorded = Recorded(Path("folder"), OmegaConf.to_container(cfg), "", [{}])
    assert settings_hash(remake(recorded, Path("results"))[0]) == settings_hash(cfg)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["algo.joint_pass=true", *RENORM], "algo.joint_pass=true: .* algo.target_networks=false"),
        (JOINT, "algo.joint_pass=true: bn@critic.bn=none uses no .* one of .*renorm"),
        ([*JOINT, "bn@critic.bn=layernorm"], "algo.joint_pass=true: bn@critic.bn=layernorm uses"),
        (
            [*JOINT, "critic=spiking", "bn@critic.bn=none"],
            "algo.joint_pass=true: bn@critic.bn=none uses no .* one of .*tebn",
        ),
        ([JOINT[1], "algo.tau=0.5"], "algo.tau=0.5: has no effect with algo.target_networks=false"),
        (
            [JOINT[1], "bn.target_stats=hard"],
            "bn.target_stats=hard: has no effect with algo.target",
        ),
        (
            [*JOINT, *RENORM, "critic.bn.target_stats=hard"],
            "critic.bn.target_stats=hard: has no effect with algo.target",
        ),
    ],
)
@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac"])
def test_what_does_not_fit_is_refused(algo, given, message):
    with pytest.raises(UserError, match=f"^{message}") as caught:
        check_settings(compose_config([f"algo={algo}", *given]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_other_algorithms_do_not_know_it(algo):
    with pytest.raises(UserError, match="joint_pass"):
        compose_config([f"algo={algo}", *JOINT])
