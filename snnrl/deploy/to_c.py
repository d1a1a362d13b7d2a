"""Policies as C99: one file and its header, without allocation.

``policy_step(observation, action)`` computes one action. Sums run over the inputs in their order,
and numbers are written in hexadecimal, so they are those of the policy. Compile with
``-ffp-contract=off``: contracted multiply-adds round otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from snnrl.deploy.runtime import ONE, Encoder, Head, IntegerLayer, Layer, Policy, Readout
from snnrl.deploy.targets import check_single_precision
from snnrl.errors import UserError

FLAGS = "-std=c99 -O2 -ffp-contract=off"


def to_c(policy: Policy, name: str = "policy") -> tuple[str, str]:
    """Return the source and the header of a policy.

    :param name: of the files, and the prefix of what the header declares
    :raises UserError: no name in C
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{name}: expected a name in C: small letters, digits and _, a letter first"
        )
    return "\n".join(_source(policy, name)) + "\n", "\n".join(_header(policy, name)) + "\n"


def _header(policy: Policy, name: str) -> Iterator[str]:
    guard = f"{name.upper()}_H"
    discrete = policy.head.kind == "argmax"
    yield f"/* An agent exported by snnrl: {_comment(policy)} */"
    yield f"#ifndef {guard}\n#define {guard}\n"
    yield f"#define {name.upper()}_OBSERVATIONS {_observations(policy)}"
    yield f"#define {name.upper()}_ACTIONS {1 if discrete else policy.head.outputs}\n"
    what = "the number of the action" if discrete else "the action"
    yield f"/* Reads an observation and writes {what}. Keeps nothing from call to call, but works"
    yield "   in memory of its own: for one thread at a time. */"
    yield f"void {name}_step(const float *observation, float *action);\n"
    yield "#endif"


def _source(policy: Policy, name: str) -> Iterator[str]:
    yield f"/* An agent exported by snnrl: {_comment(policy)}"
    yield f"   Compile with {FLAGS}, link -lm. */"
    yield f'#include "{name}.h"\n\n#include <math.h>\n#include <stdint.h>\n#include <string.h>\n'
    inputs, values = policy.layers[0].weight.shape[1], len(policy.readout.bias)
    yield f"enum {{ T = {policy.time_steps}, D = {_observations(policy)}, K = {inputs} }};"
    yield f"enum {{ VALUES = {values} }};\n"
    yield from _encoder(policy)
    for i, layer in enumerate(policy.layers):
        before = "inputs" if i == 0 else f"spikes_{i - 1}"
        if isinstance(layer, IntegerLayer):
            yield from _integer_layer(i, layer, before)
        else:
            real = i == 0 and policy.encoder.threshold is None
            yield from _layer(i, layer, before, real)
    yield from _readout(policy.readout, len(policy.layers) - 1)
    yield from _head(policy.head, name, len(policy.layers))


def _encoder(policy: Policy) -> Iterator[str]:
    encoder = policy.encoder
    spikes = encoder.threshold is not None
    yield "static uint8_t inputs[T][K];" if spikes else "static float inputs[1][K];"
    if policy.normaliser is not None:
        check_single_precision(policy.normaliser, "c")
        yield _array("static const float observed_mean[D]", policy.normaliser.mean)
        yield _array("static const float observed_std[D]", policy.normaliser.std)
    if encoder.mean is not None and encoder.std is not None:
        fields = encoder.mean.shape[1]
        yield f"enum {{ FIELDS = {fields} }};"
        yield _array("static const float field_mean[K]", encoder.mean)
        yield _array("static const float field_std[K]", encoder.std)
    yield "\n/* From the observation to the input of the first layer. */"
    yield "static void encode(const float *observation) {"
    yield "  int d, k;" + (" int t;" if spikes else "")
    if spikes:
        yield "  float potential, drive[K];"
    yield "  for (d = 0; d < D; d++) {"
    yield "    float seen = observation[d];"
    if policy.normaliser is not None:
        yield "    seen = (seen - observed_mean[d]) / observed_std[d];"
        if np.isfinite(policy.normaliser.clip):
            clip = _number(policy.normaliser.clip)
            yield f"    seen = seen < -{clip} ? -{clip} : seen > {clip} ? {clip} : seen;"
    yield from _seen(encoder)
    to = "drive" if spikes else "inputs[0]"
    if encoder.mean is None:
        yield f"    {to}[d] = seen;"
    else:
        yield "    for (k = d * FIELDS; k < (d + 1) * FIELDS; k++) {"
        yield "      const float distance = seen - field_mean[k];"
        yield "      const float square = distance * distance;"
        yield f"      {to}[k] = expf(-square / (2 * (field_std[k] * field_std[k])));"
        yield "    }"
    yield "  }"
    if spikes:
        assert encoder.threshold is not None
        threshold = _number(encoder.threshold)
        yield "  for (k = 0; k < K; k++) {"
        yield "    potential = 0;"
        yield "    for (t = 0; t < T; t++) {"
        yield "      potential = potential + drive[k];"
        yield f"      inputs[t][k] = potential > {threshold};"
        yield f"      if (inputs[t][k]) potential = potential - {threshold};"
        yield "    }\n  }"
    elif encoder.mean is None:
        yield "  (void)k;"
    yield "}\n"


def _seen(encoder: Encoder) -> Iterator[str]:
    if encoder.low is not None and encoder.high is not None:
        factor = _number(2 / (encoder.high - encoder.low))
        yield f"    seen = (seen - {_number(encoder.low)}) * {factor} - 1;"
    if encoder.squash:
        yield "    seen = tanhf(seen);"


def _layer(i: int, layer: Layer, before: str, real: bool) -> Iterator[str]:
    outputs, inputs = layer.weight.shape
    yield f"enum {{ N_{i} = {outputs}, K_{i} = {inputs} }};"
    yield f"static uint8_t spikes_{i}[T][N_{i}];"
    yield _array(f"static const float weight_{i}[K_{i}][N_{i}]", layer.weight.T)
    steps = "[T]" if layer.bias.ndim == 2 else ""
    yield _array(f"static const float bias_{i}{steps}[N_{i}]", layer.bias)
    if layer.gain is not None:
        yield _array(f"static const float gain_{i}[T][N_{i}]", layer.gain)
    yield _array(f"static const float threshold_{i}[N_{i}]", layer.threshold)
    c = {key: _number(value) for key, value in layer.constants.items()}
    yield f"\nstatic void layer_{i}(void) {{"
    yield f"  static float x[N_{i}], v[N_{i}], u[N_{i}], w[N_{i}];"
    yield "  int t, k, n;"
    yield "  memset(v, 0, sizeof v); memset(u, 0, sizeof u); memset(w, 0, sizeof w);"
    yield "  for (t = 0; t < T; t++) {"
    yield "    memset(x, 0, sizeof x);"
    if real:
        yield f"    for (k = 0; k < K_{i}; k++)"
        yield f"      for (n = 0; n < N_{i}; n++) x[n] += {before}[0][k] * weight_{i}[k][n];"
    else:
        yield f"    for (k = 0; k < K_{i}; k++)"
        yield f"      if ({before}[t][k])"
        yield f"        for (n = 0; n < N_{i}; n++) x[n] += weight_{i}[k][n];"
    yield f"    for (n = 0; n < N_{i}; n++) {{"
    yield f"      const int fired = t > 0 && spikes_{i}[t - 1][n];"
    if layer.gain is not None:
        yield f"      x[n] = x[n] * gain_{i}[t][n];"
    yield f"      x[n] = x[n] + bias_{i}{'[t]' if steps else ''}[n];"
    yield from _step(layer.neuron, c)
    yield f"      spikes_{i}[t][n] = v[n] > threshold_{i}[n];"
    yield "    }\n  }\n}\n"


def _step(neuron: str, c: dict[str, str]) -> Iterator[str]:
    """Yield a neuron's step: membrane v, current u, recovery w; see ``runtime.NEURONS``."""
    if neuron == "lif":
        yield f"      v[n] = (fired ? 0 : v[n] * {c['decay']}) + x[n];"
        return
    yield f"      u[n] = {c['current_decay']} * u[n] + x[n];"
    if neuron == "clif":
        yield f"      v[n] = (fired ? 0 : v[n] * {c['decay']}) + u[n];"
        return
    yield "      {"
    yield f"        const float a = fired ? {c['tr']} : v[n];"
    yield f"        const float b = fired ? w[n] + {c['ts']} : w[n];"
    yield "        v[n] = a + (a * a - a - b + u[n]);"
    yield f"        w[n] = b + ({c['tv']} * a + {c['tu']} * b);"
    yield "      }"


def _integer_layer(i: int, layer: IntegerLayer, before: str) -> Iterator[str]:
    outputs, inputs = layer.weight.shape
    yield f"enum {{ N_{i} = {outputs}, K_{i} = {inputs} }};"
    yield f"static uint8_t spikes_{i}[T][N_{i}];"
    yield _array(f"static const int8_t weight_{i}[K_{i}][N_{i}]", layer.weight.T)
    yield _array(f"static const int32_t bias_{i}[N_{i}]", layer.bias)
    yield _array(f"static const int32_t threshold_{i}[N_{i}]", layer.threshold)
    yield f"\nstatic void layer_{i}(void) {{"
    yield f"  static int32_t x[N_{i}], v[N_{i}], u[N_{i}];"
    yield "  int t, k, n;"
    yield "  memset(v, 0, sizeof v); memset(u, 0, sizeof u);"
    yield "  for (t = 0; t < T; t++) {"
    yield "    memset(x, 0, sizeof x);"
    yield f"    for (k = 0; k < K_{i}; k++)"
    yield f"      if ({before}[t][k])"
    yield f"        for (n = 0; n < N_{i}; n++) x[n] += weight_{i}[k][n];"
    yield f"    for (n = 0; n < N_{i}; n++) {{"
    yield f"      const int fired = t > 0 && spikes_{i}[t - 1][n];"
    # Division rounds towards 0 in C99; a shift of a negative number may not.
    share = "(int32_t)((int64_t){0} * {1} / {2})"
    current = f"x[n] * {2**layer.shift} + bias_{i}[n]"
    if layer.neuron == "clif":
        kept = share.format("u[n]", layer.numerators["current_decay"], ONE)
        current = f"{kept} + {current}"
    kept = share.format("v[n]", layer.numerators["decay"], ONE)
    yield f"      u[n] = {current};"
    yield f"      v[n] = (fired ? 0 : {kept}) + u[n];"
    yield f"      spikes_{i}[t][n] = v[n] > threshold_{i}[n];"
    yield "    }\n  }\n}\n"


def _readout(readout: Readout, last: int) -> Iterator[str]:
    shape = readout.weight.shape
    yield f"enum {{ EACH = {shape[1]} }};"
    yield _array("static const float readout_weight[VALUES][EACH]", readout.weight)
    yield _array("static const float readout_bias[VALUES]", readout.bias)
    first = "0" if readout.kind == "linear" else "a * EACH"
    yield "\nstatic void read_out(float *values) {"
    yield "  int a, n, t;"
    yield "  for (a = 0; a < VALUES; a++) {"
    if readout.kind == "membrane":
        yield from _membrane(readout, last, first)
    else:
        divided = " / T" if readout.kind == "population" else ""
        yield "    float sum = 0;"
        yield "    for (n = 0; n < EACH; n++) {"
        yield "      float count = 0;"
        yield f"      for (t = 0; t < T; t++) count += spikes_{last}[t][{first} + n];"
        yield f"      sum += count{divided} * readout_weight[a][n];"
        yield "    }"
        yield "    values[a] = sum + readout_bias[a];"
    yield "  }\n}\n"


def _membrane(readout: Readout, last: int, first: str) -> Iterator[str]:
    yield "    float m = 0, highest = 0, lowest = 0, total = 0;"
    yield "    for (t = 0; t < T; t++) {"
    yield "      float sum = 0;"
    yield "      for (n = 0; n < EACH; n++)"
    yield f"        if (spikes_{last}[t][{first} + n]) sum += readout_weight[a][n];"
    yield f"      m = {_number(readout.decay)} * m + (sum + readout_bias[a]);"
    yield "      highest = t == 0 || m > highest ? m : highest;"
    yield "      lowest = t == 0 || m < lowest ? m : lowest;"
    yield "      total += m;"
    yield "    }"
    found = {
        "last": "m",
        "mean": "total / T",
        "max": "fabsf(highest) > fabsf(lowest) ? highest : lowest",
    }
    yield "    (void)highest; (void)lowest; (void)total;"
    yield f"    values[a] = {found[readout.value]};"


def _head(head: Head, name: str, layers: int) -> Iterator[str]:
    if head.kind != "argmax":
        yield _array(f"static const float low[{head.outputs}]", head.low)
        yield _array(f"static const float high[{head.outputs}]", head.high)
    yield f"\nvoid {name}_step(const float *observation, float *action) {{"
    yield "  float values[VALUES];\n  int a;"
    yield "  encode(observation);"
    for i in range(layers):
        yield f"  layer_{i}();"
    yield "  read_out(values);"
    if head.kind == "argmax":
        yield "  action[0] = 0;"
        yield f"  for (a = 1; a < {head.outputs}; a++)"
        yield "    if (values[a] > values[(int)action[0]]) action[0] = (float)a;"
    else:
        yield f"  for (a = 0; a < {head.outputs}; a++)"
        if head.kind == "tanh":
            scaled = "low[a] + 0.5f * (tanhf(values[a]) + 1) * (high[a] - low[a])"
        else:
            scaled = "values[a] < low[a] ? low[a] : values[a] > high[a] ? high[a] : values[a]"
        yield f"    action[a] = {scaled};"
    yield "}"


def _observations(policy: Policy) -> int:
    return int(np.prod(policy.observation_shape))


def _comment(policy: Policy) -> str:
    said = ", ".join(f"{key} {value}" for key, value in policy.about.items())
    return re.sub(r"[^ -~]|\*/|/\*", "?", said) or "of no name"


def _array(declared: str, values: NDArray[np.generic]) -> str:
    numbers: Iterable[str] = map(_number, values.ravel().tolist())
    if np.issubdtype(values.dtype, np.integer):
        numbers = map(str, values.ravel().tolist())
    width = values.shape[-1]
    if values.ndim == 1:
        return f"{declared} = {{{','.join(numbers)}}};"
    each = iter(numbers)
    rows = [",".join(next(each) for _ in range(width)) for _ in range(values.size // width)]
    nested = rows if declared.count("[") == 1 else [f"{{{row}}}" for row in rows]
    return f"{declared} = {{{','.join(nested)}}};"


def _number(value: float) -> str:
    """Return a number of single precision as C reads it, exactly."""
    single = np.float32(value)
    if not np.isfinite(single):
        raise UserError(f"--format c: a number is {single}; expected finite ones")
    return f"{float(single).hex()}f"
