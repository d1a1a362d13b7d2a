"""Spiking networks: linear maps, normalisation and neurons between an encoder and a readout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.convolution import SpikingConvolutions, conv_lists
from snnrl.nn.eager import Compilable
from snnrl.nn.encoders import Encoder, encoders_of_images, shape_of_step
from snnrl.nn.lateral import IntraLayer, check_effect, check_lateral
from snnrl.nn.layers import LayerParts, SpikingLayer
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import NormStrategy
from snnrl.nn.norm.together import moved_together
from snnrl.nn.operators import Operators, operators
from snnrl.nn.readouts import Readout, check_time_steps, make_readout, readout_name
from snnrl.nn.registry import Spec, build, component, split_spec
from snnrl.nn.regulations import Regulation
from snnrl.nn.structure import Structure
from snnrl.nn.threshold import held
from snnrl.nn.traces import counted
from snnrl.ops import native
from snnrl.ops.backend import FUSED, resolve_kernel
from snnrl.parameters import AtLeast, parameters_of

NetworkPass = Callable[["SpikingNetwork", Tensor], Tensor]


class SpikingNetwork(Compilable):
    """Encoder, spiking layers and readout: ``[B, inputs] -> [B, outputs]``.

    With ``readout="population"`` the last spiking layer has ``outputs * population`` neurons, which
    is normalised like the others, and a :class:`PopulationDecoder` reads their rates: the actors of
    PopSAN (Tang et al. 2020) and CaRe-BN (arXiv 2509.23791). With ``readout="membrane"`` a
    :class:`MembraneReadout` reads the same neurons: ILC-SAN. With ``readout="linear"`` a
    :class:`SpikeCountReadout` follows the last hidden layer: CaRe-BN's discrete control.

    :param inputs: number of inputs, the shape ``(C, H, W)`` of images, or ``(T, C, H, W)`` of
        frames for an encoder that takes a time axis, flattened if there are no convolutions
    :param outputs: number of outputs
    :param hidden: neurons of each hidden layer
    :param neuron: name, class, or ``dict(name=..., **parameters)`` with either
    :param surrogate: name, class or mapping
    :param encoder: name, class or mapping
    :param norm: normalisation strategy
    :param time_steps: number of time steps T
    :param population: output neurons per output, unless the readout is linear
    :param kernel: ``naive``, ``compile``, ``native``, ``triton``, or ``auto``, which becomes one of
        these at :meth:`resolve` or else in the first pass; see :func:`resolve_kernel`
    :param readout: ``population``, ``linear``, ``membrane``, or
        ``dict(name="membrane", value=..., decay=...)``
    :param lateral: connections within the output populations, a key of
        :data:`snnrl.nn.lateral.LATERALS`, or ``none``
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of spiking convolutions between
        encoder and hidden layers, for images; see :class:`SpikingConvolutions`
    :param input_range: lowest and highest input, for encoders that scale
    :param regulation: name, class or mapping of what moves the firing thresholds
    :raises UserError: unknown name or parameter, a size below 1, images without convolutions or
        with population coding, connections without output populations or whose weights do nothing,
        a membrane readout's parameter that does nothing in one time step, a time axis that the
        encoder does not take or that is missing or of another length, a regulation without a
        spiking layer, or a kernel without its compiler or that does not know the neuron;
        from a pass, a module that was replaced or has hooks where the kernel would leave it out
    """

    taken: int | None = None
    """Time steps that a pass takes of the encoder's, ``None``: all; :mod:`snnrl.nn.early_exit`."""

    _structure: Structure | None = None
    _unsupported: str | None = None

    def __init__(
        self,
        inputs: int | tuple[int, ...],
        outputs: int,
        hidden: Sequence[int],
        *,
        neuron: Spec,
        surrogate: Spec,
        encoder: Spec,
        norm: NormStrategy,
        time_steps: Annotated[int, AtLeast(1)],
        population: Annotated[int, AtLeast(1)],
        kernel: str,
        readout: Spec = "population",
        lateral: str = "none",
        conv: Mapping[str, Any] | None = None,
        input_range: tuple[float, float] | None = None,
        regulation: Spec | None = None,
    ):
        super().__init__()
        regulation = None if regulation == "none" else regulation
        of_population = readout_name(readout) != "linear"
        check_lateral(lateral)
        if lateral != "none" and not of_population:
            raise UserError(
                f"lateral={lateral}: connects the neurons of output populations, and "
                "readout=linear has none; expected readout=population or membrane, or lateral=none"
            )
        check_size("time_steps", time_steps)
        check_size("population", population)
        check_effect(lateral, time_steps, population)
        check_time_steps(readout, time_steps)
        if min(hidden, default=1) < 1:
            raise UserError(f"net_arch={min(hidden)}: expected at least 1")
        whole = (inputs,) if isinstance(inputs, int) else tuple(inputs)
        shape = shape_of_step(encoder, whole, time_steps)
        images = not isinstance(inputs, int)
        if images and conv is None and shape == whole:
            raise UserError(
                f"conv=None: inputs of shape {inputs} are images; expected "
                "dict(channels=[...], kernels=[...], strides=[...])"
            )
        kind = component("encoder", split_spec(encoder, "encoder")[0])
        if images and not getattr(kind.maker, "takes_images", False):
            raise UserError(
                f"encoder={kind.name}: takes a vector of numbers, not images; expected "
                f"{' or '.join(encoders_of_images())}"
            )
        if conv is not None and not images:
            raise UserError(f"conv={dict(conv)}: expected images, not a vector of {inputs} numbers")
        self.encoder: Encoder = build(
            "encoder",
            encoder,
            inputs=math.prod(shape),
            time_steps=time_steps,
            input_range=input_range,
        )
        parts = LayerParts(neuron, surrogate, norm, time_steps, regulated=regulation is not None)
        self.conv: SpikingConvolutions | nn.Identity = nn.Identity()
        features = self.encoder.features
        if conv is not None:
            self.conv = SpikingConvolutions(shape, parts, **conv_lists(conv))
            features = self.conv.features
        widths = [features, *hidden]
        if of_population:
            widths.append(outputs * population)
        pooled = getattr(self.conv, "pooled", None)
        if pooled is not None and len(widths) == 1:
            raise UserError(
                f"conv.pools={conv_lists(conv or {})['pools']}: nothing reads the last pool; "
                "expected a hidden layer"
            )
        behind = [pooled] + [None] * len(widths)
        pairs = zip(pairwise(widths), behind, strict=False)
        self.layers = nn.Sequential(*(parts.dense(*pair, pool) for pair, pool in pairs))
        self.decoder = make_readout(readout, outputs, population, features=widths[-1])
        if lateral != "none":
            # Last, so that all other weights start as without it.
            self.stack()[-1].connect(IntraLayer(lateral, outputs, population))
        self.regulation: Regulation | None = None
        if regulation is not None:
            if not self.stack():
                raise UserError(
                    f"regulation={regulation}: the network has no spiking layer; expected at least "
                    "one hidden layer, or no regulation"
                )
            self.regulation = build("regulation", regulation, layers=len(self.stack()))
        self.kernel = kernel
        if kernel != "auto":
            # Where it will run is not known yet: on the device that goes with the kernel.
            self.resolve(torch.device("cuda" if kernel == "triton" else "cpu"))

    def extra_repr(self) -> str:
        """Return its kernel, for ``print``."""
        return f"kernel={self.kernel}"

    def stack(self) -> list[SpikingLayer]:
        """Return the spiking layers in the order in which spikes pass them."""
        convolutions = getattr(self.conv, "layers", ())
        return cast(list[SpikingLayer], [*convolutions, *self.layers])

    def resolve(self, device: torch.device) -> None:
        """Resolve the kernel that computes the network on this device.

        :raises UserError: the kernel that was asked for cannot
        """
        known = self.why_not_fused() is None
        self.kernel = resolve_kernel(self.kernel, str(device), has_fused=known)

    def why_not_fused(self) -> str | None:
        """Return why fused kernels cannot compute the network; ``None``: they can."""
        reasons = (m.why_not_fused() for m in self.modules() if isinstance(m, Neuron))
        return next((reason for reason in reasons if reason is not None), None)

    def forward(self, x: Tensor) -> Tensor:
        """Return values ``[B, outputs]`` before any bound, from inputs ``[B, ...]``."""
        if self.kernel == "auto":
            self.resolve(x.device)
        if self.taken is not None and self.training and torch.is_grad_enabled():
            raise UserError("early exit: is for acting; expected learning outside of it")
        if self.kernel != "naive":
            self._check_structure()
        if self.regulation is None or not self.regulation.learns():
            return self._pass(x)
        with counted(self) as rates:
            values = self._pass(x)
            self.regulate(list(rates().values()))
        return values

    def _pass(self, x: Tensor) -> Tensor:
        if self.kernel in FUSED:
            ops = operators(self.kernel)
            if not ops.MOVES_STATISTICS:
                return self._fused_pass(x, ops)
            with moved_together((layer.norm for layer in self.stack()), ops):
                return self._fused_pass(x, ops)
        if self.kernel == "naive":
            return _eager_pass(self, x)
        with held([layer.neuron.threshold for layer in self.stack()]):
            if self.encoder.compiles:
                return _compiled(_eager_pass)(self, x)
            return _compiled(_pass_of_input)(self, self.encoder(x))

    @torch.no_grad()
    def regulate(self, rates: Sequence[Tensor]) -> None:
        """Let the regulation, if there is one, change the thresholds.

        :param rates: how often the neurons of each layer fired per time step, ``[N, ...]``
        """
        if self.regulation is None:
            return
        gains = self.regulation(torch.stack([rate.mean() for rate in rates]))
        for layer, gain in zip(self.stack(), gains, strict=True):
            layer.neuron.threshold.gain.copy_(gain)

    def _check_structure(self) -> None:
        """Refuse modules and hooks that only the naive kernel calls: others would silently skip
        them."""
        structure = self._structure
        if structure is None or not structure.is_current():
            structure = self._structure = Structure(self)
            self._unsupported = self._find_unsupported()
        if self._unsupported is not None and self.kernel in FUSED:
            raise UserError(
                f"kernel={self.kernel}: has no operator for {self._unsupported}; expected "
                "kernel=compile or naive"
            )
        if not structure.is_plain():
            raise UserError(
                f"kernel={self.kernel}: {structure.why_not_plain()}, which the kernel would "
                "not call; expected kernel=naive, or a pass inside snnrl.nn.eager.eager(network)"
            )

    def _find_unsupported(self) -> str | None:
        """Return the first module without a fused operator, by name and class.

        ``None``: all are known, or are called where they stand (encoder, normalisations,
        convolutions).
        """
        for name, module, classes in (
            ("layers", self.layers, (nn.Sequential,)),
            ("conv", self.conv, (SpikingConvolutions, nn.Identity)),
        ):
            if type(module).forward not in [each.forward for each in classes]:
                return f"{name} ({type(module).__name__})"
        for prefix, stack in (
            ("layers", self.layers),
            ("conv.layers", getattr(self.conv, "layers", ())),
        ):
            for i, layer in enumerate(stack):
                part = layer.unknown() if isinstance(layer, SpikingLayer) else ("", layer)
                if part is not None:
                    name = ".".join(filter(None, [prefix, str(i), part[0]]))
                    return f"{name} ({type(part[1]).__name__})"
        if not isinstance(self.decoder, Readout) or not self.decoder.is_known():
            return f"decoder ({type(self.decoder).__name__})"
        return None

    def _fused_pass(self, x: Tensor, ops: Operators) -> Tensor:
        stack = self.stack()
        if not stack:
            values: Tensor = self.decoder(self.encoder(x))
            return values
        by_counts = self.decoder.reads_counts()
        if by_counts and (counts := self._acting_counts(x, stack)) is not None:
            return self.decoder.read(counts, self.encoder.time_steps)
        currents = self.encoder.known_currents(x, stack[0].linear, ops)
        if self.taken is not None:
            currents = currents[: self.taken]
        for layer, following in pairwise(stack):
            currents = layer.fire_into(following, currents, ops)
        if by_counts:
            counts = stack[-1].fire_counts(currents, ops)
            return self.decoder.read_by(ops, counts, self.encoder.time_steps)
        spikes = stack[-1].fire(currents, ops)
        values = self.decoder(_with_silent_steps(spikes, self.encoder.time_steps))
        return values

    def _acting_counts(self, x: Tensor, stack: list[SpikingLayer]) -> Tensor | None:
        """Return the spikes of the last layer by one native operator for the whole network, where
        this pass needs no gradients and treats every input by itself."""
        if self.kernel != "native" or torch.is_grad_enabled():
            return None
        layers = [layer.for_acting() for layer in stack]
        known = [layer for layer in layers if layer is not None]
        if len(known) < len(layers) or (drive := self.encoder.known_input(x)) is None:
            return None
        steps = self.taken or self.encoder.time_steps
        return native.infer(drive.values, steps, drive.threshold, known)


def check_size(name: str, value: Any) -> None:
    """Check a size given for a :class:`SpikingNetwork`.

    :param name: ``time_steps`` or ``population``
    :raises UserError: not an integer, or below 1
    """
    parameters_of(SpikingNetwork)[name].check(name, value)


def _eager_pass(network: SpikingNetwork, x: Tensor) -> Tensor:
    return _pass_of_input(network, network.encoder(x))


def _pass_of_input(network: SpikingNetwork, x: Tensor) -> Tensor:
    """Return the values of what the encoder made, ``[T, B, ...]``."""
    spikes = network.layers(network.conv(x[: network.taken]))
    values: Tensor = network.decoder(_with_silent_steps(spikes, len(x)))
    return values


def _with_silent_steps(spikes: Tensor, time_steps: int) -> Tensor:
    """Return spikes ``[T, B, N]``, silent in the steps that were left out."""
    left_out = time_steps - len(spikes)
    return F.pad(spikes, (0, 0, 0, 0, 0, left_out)) if left_out else spikes


@cache
def _compiled(network_pass: NetworkPass) -> NetworkPass:
    # One compiled form for each mode, batch size and structure that a process meets. The limit
    # guards against endless recompilation; a sweep or a test run in one process meets many.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(network_pass, fullgraph=True, dynamic=False)
