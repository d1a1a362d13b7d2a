"""The benchmark: no speed without agreement, and what it compares with is what it says."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.bench import actions, actor, operators, steps, timing
from scripts.bench.__main__ import main
from scripts.bench.agents import OURS, QUICK, minibatches, spiking
from scripts.bench.floor import Product, act, multiply, step
from scripts.bench.gate import Outcome, Red, Tolerance, agree
from scripts.bench.kernels import DYNAMICS, kernels, naive_neuron
from scripts.bench.options import Options
from scripts.bench.peers import Peer, peers
from scripts.bench.published import StepwiseActor
from scripts.bench.race import (
    ABSENT,
    FAILED,
    OTHER,
    RED,
    REFERENCE,
    SAME,
    Contestant,
    Ready,
    Row,
    Table,
    add_ratios,
    race,
)
from scripts.bench.report import duration
from snnrl.ops.lif import LIFConstants

TINY = Options(quick=True, kernels=("naive",))
COMMAND = ["--only", "operators", "--quick", "--device", "cpu", "--kernels", "naive"]
COMMAND += ["--kinds", "lif", "--shapes", "3x4x8"]


@pytest.fixture
def peer(monkeypatch):
    """Let one made-up library be the only peer."""

    def be(run, package="torch"):
        made = Peer("Library", package, {"lif": lambda kind: run}, compiles=False)
        monkeypatch.setattr(operators, "peers", lambda device: [made])

    return be


def lif(x):
    return naive_neuron(x, DYNAMICS["lif"])


def strict_is_not(x):
    return naive_neuron(x, DYNAMICS["lif"]._replace(threshold=0.5 - 1e-7))


def reset_is_detached(x):
    return naive_neuron(x, DYNAMICS["lif"]._replace(detach_reset=True))


def other_decay(x):
    return naive_neuron(x, DYNAMICS["lif"]._replace(constants=LIFConstants(decay=0.7)))


def breaks(x):
    raise RuntimeError("first line\nsecond line")


# The command


def read(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def rows_of(found):
    return {row["contestant"]: row for table in found["tables"] for row in table["rows"]}


def test_a_run_leaves_a_json_and_a_table(tmp_path, peer, capsys):
    peer(lif)
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    found = read(tmp_path)
    assert [table["case"] for table in found["tables"]] == [
        "lif [3, 4, 8] fp32: forward",
        "lif [3, 4, 8] fp32: forward + backward",
    ]
    for table in found["tables"]:
        status = {row["contestant"]: row["status"] for row in table["rows"]}
        assert status == {"naive": REFERENCE, "Library": SAME, "copy": OTHER}
        for row in table["rows"]:
            assert len(row["seconds"]) == TINY.rounds
            assert row["summary"]["median"] > 0
    figures = rows_of(found)["copy"]["figures"]
    assert figures == {"bytes/element-step": 8.0}
    assert {"hardware", "versions", "git", "threads", "seed", "command", "load_average"} <= set(
        found
    )
    assert found["versions"]["torch"] == torch.__version__
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    assert "| naive |" in text and "load average" in text
    assert text.count("### operators") == 2
    assert "| Library |" in capsys.readouterr().out


@pytest.mark.parametrize("run", [strict_is_not, reset_is_detached, other_decay])
def test_whoever_computes_something_else_gets_no_speed(tmp_path, peer, capsys, run):
    peer(run)
    assert main([*COMMAND, "--out", str(tmp_path)]) == 1
    row = rows_of(read(tmp_path))["Library"]
    assert row["status"] == RED
    assert row["seconds"] == [] and row["summary"] is None
    assert "Library RED" in capsys.readouterr().err
    assert rows_of(read(tmp_path))["naive"]["seconds"]


def test_whoever_fails_gets_no_speed(tmp_path, peer):
    peer(breaks)
    assert main([*COMMAND, "--out", str(tmp_path)]) == 1
    row = rows_of(read(tmp_path))["Library"]
    assert (row["status"], row["detail"]) == (FAILED, "RuntimeError: first line")


def test_a_peer_that_is_not_installed_is_listed(tmp_path, peer):
    peer(lif, package="no-such-distribution")
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    row = rows_of(read(tmp_path))["Library"]
    assert (row["status"], row["detail"]) == (ABSENT, "not installed")


def test_every_peer_either_makes_a_kind_of_neuron_or_says_why_not():
    for library in peers("cpu"):
        for kind in DYNAMICS:
            if kind != "normalised-lif":
                assert (kind in library.makers) != (kind in library.cannot), (library.name, kind)


@pytest.mark.parametrize("library", peers("cpu"), ids=lambda library: library.name)
def test_installed_peers_compute_our_neurons(library):
    if library.version is None:
        pytest.skip(f"{library.package} is not installed")
    for kind in library.makers:
        data = operators.Data((3, 4, 64), torch.float32, TINY)
        expected = operators.ours("naive", kind, data).outcome
        (plain, *_) = operators.of_peer(replace(library, compiles=False), kind, data)
        assert "values within" in agree(plain.prepare().outcome, expected, Tolerance())


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--only", "operator"], "--only=operator: expected one of operators"),
        (["--shapes", "5x256"], "--shapes=5x256: expected TxBxN"),
        (["--kernels", "naiv"], "--kernels=naiv: expected one of naive"),
        (["--device", "gpu"], "--device=gpu: expected one of auto, cpu, cuda"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, key):
    assert main(["--out", str(tmp_path), "--quick", "--device", "cpu", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {key}")
    assert list(tmp_path.iterdir()) == []


def test_backends_are_those_of_this_version_that_run_here(monkeypatch):
    from scripts.bench import kernels as module

    monkeypatch.setattr(module, "KERNELS", ("auto", "naive", "compile", "native", "triton", "new"))
    assert kernels(Options()) == ["naive", "compile", "native", "new"]
    assert kernels(Options(device="cuda")) == ["naive", "compile", "triton", "new"]
    assert kernels(Options(kernels=("native",))) == ["naive", "native"]


# The gate


def trials(*values):
    return lambda trial: Outcome({"value": torch.tensor([values[trial]])})


def test_one_trial_without_a_spike_on_the_other_side_is_enough():
    tolerance = Tolerance(values=1e-3, values_after_flips=0.1, trials=3)
    reference = trials(1.0, 1.0, 1.0)
    assert agree(trials(1.05, 1.0, 1.0), reference, tolerance).endswith("at trial 2")
    with pytest.raises(Red, match=r"value differs by 0\.05 \(at most 0\.001\)"):
        agree(trials(1.05, 1.05, 1.05), reference, tolerance)
    with pytest.raises(Red, match=r"value differs by 0\.5 \(at most 0\.1\)"):
        agree(trials(1.5, 1.0, 1.0), reference, tolerance)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"value": torch.tensor([float("nan"), 1.0])}),
        Outcome({"value": torch.ones(3)}),
        Outcome({}),
        Outcome({"value": torch.ones(2)}, {"spikes": torch.ones(2)}),
    ],
    ids=["not finite", "another shape", "missing", "too many"],
)
def test_what_is_not_the_same_is_red(outcome):
    with pytest.raises(Red):
        agree(lambda _: outcome, lambda _: Outcome({"value": torch.ones(2)}), Tolerance())


def test_few_spikes_may_differ_and_then_values_may_too():
    spikes, other = torch.zeros(1000), torch.zeros(1000)
    other[0] = 1
    reference = Outcome({"value": torch.tensor(1.0)}, {"spikes": spikes})
    flipped = Outcome({"value": torch.tensor(1.005)}, {"spikes": other})
    assert "spikes differ" in agree(lambda _: flipped, lambda _: reference, Tolerance(flips=2e-3))
    with pytest.raises(Red, match="of spikes differ"):
        agree(lambda _: flipped, lambda _: reference, Tolerance())
    with pytest.raises(Red, match="value differs by"):
        agree(
            lambda _: replace(flipped, spikes={"spikes": spikes}), lambda _: reference, Tolerance()
        )


def test_nothing_is_timed_without_the_reference():
    def same():
        return Ready({"": lambda: None}, lambda _: Outcome({"value": torch.ones(1)}))

    (table,) = race("m", "c", [Contestant("a", lambda: breaks(0)), Contestant("b", same)], TINY)
    assert [row.status for row in table.rows] == [FAILED, RED]
    assert not any(row.seconds for row in table.rows)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", OURS)
def test_an_agent_agrees_with_itself_and_not_with_another(algo):
    shared = steps.Shared(algo, TINY)
    reference = steps.ours("naive", shared).outcome
    assert "within 0" in agree(reference, reference, steps.TOLERANCE)

    def changed(trial):
        agent = shared.agent("naive", gentle=True)
        for module in agent.policy.modules():
            if hasattr(module, "decay"):
                module.decay = 0.7
        return steps.learned(agent, shared, trial)

    with pytest.raises(Red):
        agree(changed, reference, steps.TOLERANCE)


def test_weights_of_an_agent_move_in_the_gate():
    shared = steps.Shared("td3", TINY)
    moved = steps.learned(shared.agent("naive", gentle=True), shared, 0).values
    still = [name for name, by in moved.items() if not by.any()]
    assert still == []


def test_ratios_to_the_published_loop_and_to_the_floor():
    rows = [Row("a", REFERENCE, seconds=[2.0]), Row("slow", SAME, seconds=[8.0])]
    rows += [Row("bare", OTHER, seconds=[0.5]), Row("wrong", RED)]
    add_ratios(Table("m", "c", rows), "slow", "bare")
    assert rows[0].figures == {"faster than published": 4.0, "times the floor": 4.0}
    assert rows[3].figures == {}


# The published loop


def test_the_published_actor_is_the_naive_one():
    found = {entrant.name: entrant for entrant in actor.contestants(TINY)}
    reference = found["naive"].prepare().outcome
    stepwise = found["published loop"].prepare().outcome
    names = set(reference(0).values)
    assert {
        "actions",
        "gradient of network.encoder.std",
        "network.layers.2.norm.moving_var",
    } <= names
    assert "values within" in agree(stepwise, reference, Tolerance(values=1e-5))


def test_the_published_gradient_step_is_the_naive_one():
    shared = steps.Shared("td3", TINY)
    reference = steps.ours("naive", shared).outcome
    assert "values within" in agree(steps.published(shared).outcome, reference, steps.TOLERANCE)


def test_the_published_action_is_the_naive_one():
    found = {entrant.name: entrant for entrant in actions.contestants("td3", TINY)}
    reference = found["naive"].prepare().outcome
    outputs = reference(0).values["outputs"]
    assert len(outputs) == actions.CHECKED and outputs.std(0).min() > 0
    stepwise = found["published loop"].prepare().outcome
    assert "values within" in agree(stepwise, reference, Tolerance(values=1e-5))


# The floor


class Products(TorchDispatchMode):
    """Counts the matrix products of what runs inside."""

    def __init__(self):
        super().__init__()
        self.shapes = Counter()

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        name = operator.overloadpacket.__name__
        if name in ("mm", "addmm"):
            left, right = arguments[1:3] if name == "addmm" else arguments[:2]
            self.shapes[(*left.shape, right.shape[1])] += 1
        assert name not in ("bmm", "baddbmm", "addmv", "mv")
        return operator(*arguments, **(named or {}))


def shapes(products: list[Product]) -> Counter:
    return Counter((p.rows, p.inner, p.columns) for p in products)


@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac", "dqn"])
def test_the_floor_lists_the_products_of_a_gradient_step(algo):
    agent = spiking(algo, "naive", TINY)
    for products in step(algo, QUICK):
        with Products() as seen:
            agent.train(gradient_steps=1, batch_size=agent.batch_size)
        assert seen.shapes == shapes(products)


def test_the_floor_of_ppo_lists_the_products_of_a_minibatch():
    agent = spiking("ppo", "naive", TINY)
    with Products() as seen:
        values, log_prob, _ = agent.policy.evaluate_actions(
            torch.randn(QUICK.ppo_batch, QUICK.observations),
            torch.randn(QUICK.ppo_batch, QUICK.actions),
        )
        (values.sum() + log_prob.sum()).backward()
    assert seen.shapes == shapes(step("ppo", QUICK)[0])


@pytest.mark.parametrize("algo", ["td3", "sac", "dqn"])
def test_the_floor_of_an_action_lists_its_products(algo):
    agent = spiking(algo, "naive", TINY)
    network = actions.network_of(agent)
    observation = actions.as_tensor(agent, agent.observation_space.sample())
    with torch.no_grad(), Products() as seen:
        network(observation)
    assert seen.shapes == shapes(act(QUICK, algo))


def test_the_floor_multiplies_what_it_lists():
    products = step("td3", QUICK)[1]
    with Products() as seen:
        multiply(products, "cpu")()
    assert seen.shapes == shapes(products)


# Time


def test_turns_go_round_robin():
    calls = []
    found = timing.take_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, 0.0, lambda: None
    )
    assert "".join(calls[-4:]) == "abba"
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}


def test_the_device_is_waited_for_before_and_after_a_block():
    calls = []
    timing.take_turns({"a": lambda: calls.append("a")}, 1, 0.0, lambda: calls.append("|"))
    assert "".join(calls[-3:]) == "|a|"


def test_median_and_quartiles():
    assert timing.summarise([5.0, 1.0, 2.0, 3.0, 4.0]) == (3.0, 2.0, 4.0, 5)
    assert timing.summarise([2.0]) == (2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0031, "3.1 ms"), (4.2e-7, "0.42 us"), (0.25, "250 ms")]
)
def test_durations_have_units(seconds, text):
    assert duration(seconds) == text


# Everything


@pytest.mark.slow
def test_every_measure_runs(tmp_path):
    everything = ["--quick", "--device", "cpu", "--kernels", "naive,native", "--out", str(tmp_path)]
    assert main(everything) == 0
    found = read(tmp_path)
    assert {table["measure"] for table in found["tables"]} == {
        "operators",
        "actor",
        "steps",
        "actions",
        "end_to_end",
        "ready",
    }


def test_minibatches_do_not_depend_on_what_was_drawn_before():
    """DQN draws without replacement, from Python's generator."""
    agent = spiking("dqn", "naive", TINY)
    first = minibatches(agent, 2, seed=3)
    random.random()
    second = minibatches(agent, 2, seed=3)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.observations, other.observations)


def test_the_published_loop_is_where_its_network_is():
    """No other device is here but torch's imaginary one."""
    network = actor.make_network(QUICK, "naive", 0).to("meta")
    loop = StepwiseActor(network, 4)
    assert {value.device.type for value in loop.state_dict().values()} == {"meta"}
