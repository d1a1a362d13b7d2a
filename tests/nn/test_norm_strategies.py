import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.norm import make_strategy, norm_layers

from .parts import follow, make_norm


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("carbn", r"^bn=carbn: expected one of .*ca_only, carebn, .*; did you mean 'carebn'\?$"),
        (dict(name="vanila"), r"^bn=vanila: .*'vanilla'\?$"),
        (dict(name="vanilla", momentm=0.2), r"^bn parameter=momentm: .*'momentum'\?$"),
        (dict(name="carebn", target_stats="sotf"), r"^bn.target_stats=sotf: .*'soft'\?$"),
        (dict(name="carebn", rule="confidnce"), r"^bn.rule=confidnce: .*'confidence'\?$"),
    ],
)
def test_an_unknown_name_parameter_or_value_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        make_strategy(spec)


@pytest.mark.parametrize(
    "spec",
    [
        dict(name="carebn", momentum=0.1),
        dict(name="renorm", momentum=0.01),
        dict(name="bntt", rule="confidence", smoothing=0.2),
        dict(name="carebn", rule="ema", momentum=0.2),
    ],
)
def test_a_value_that_has_an_effect_or_is_the_usual_one(spec):
    assert make_strategy(spec).settings().items() >= spec.items() - {("name", spec["name"])}


def test_changes_to_a_strategy_reach_its_layer():
    spec = dict(name="carebn", smoothing=0.5, effective_n=7, eps=1e-3)
    layer = make_norm(spec, 2, threshold=0.6)
    assert (layer.update.smoothing, layer.update.effective_n, layer.eps) == (0.5, 7, 1e-3)
    assert torch.equal(layer.gamma, torch.full((2,), 0.3))
    assert torch.equal(layer.beta, torch.full((2,), 0.3))
    assert make_strategy("carebn").settings()["smoothing"] == 0.8


@pytest.mark.parametrize(("share", "expected"), [(0.1, 1.2), (1.0, 3.0)])
def test_statistics_of_a_target_follow(share, expected):
    online, target = (make_norm("carebn", 2) for _ in range(2))
    online.moving_mean.fill_(3.0)
    target.moving_mean.fill_(1.0)
    address = target.moving_mean.data_ptr()
    follow(online, target, share)
    torch.testing.assert_close(target.moving_mean, torch.full((2,), expected))
    assert target.moving_mean.data_ptr() == address
    assert torch.equal(online.moving_mean, torch.full((2,), 3.0))


def test_a_network_without_normalisation_has_no_statistics_to_follow():
    layer = make_norm("none", 2)
    assert norm_layers(layer) == []
    assert layer.followed() == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (dict(target_stats="hard"), "has no name"),
        (
            dict(name="carebn", recalibrate_batches=0),
            "bn.recalibrate_batches=0: expected at least 1",
        ),
        (dict(name="carebn", recalibrate_every=0), "bn.recalibrate_every=0: expected at least 1"),
        (dict(name="carebn", effective_n=0), "bn.effective_n=0: expected more than 0"),
        (dict(name="vanilla", momentum=5), "bn.momentum=5: expected at most 1"),
        (
            dict(name="none", recalibrate_every=10),
            "^bn.recalibrate_every=10: bn=none keeps no statistics",
        ),
        (dict(name="carebn", momentum=0.2), "^bn.momentum=0.2: has no effect .* the ema rule$"),
        (dict(name="bntt", smoothing=0.2), "^bn.smoothing=0.2: .* whose rule is ema; "),
        (dict(name="tdbn", effective_n=9), "^bn.effective_n=9: has no effect with bn=tdbn"),
        (dict(name="re_only", confidence="kalman"), "^bn.confidence=kalman: has no effect"),
        (
            dict(name="carebn", confidence="kalman", process_noise=1, smoothing=0.5),
            "^bn.smoothing=0.5: has no effect with bn.process_noise=1; ",
        ),
        (None, "expected a name or dict"),
    ],
)
def test_specs_that_make_no_sense(spec, message):
    with pytest.raises(UserError, match=message):
        make_strategy(spec)
