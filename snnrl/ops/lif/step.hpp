// The step of lif (naive.py), forward and backward, of one neuron.

#pragma once

namespace lif {

struct Neuron {
  struct Constants {
    float decay;
  };
  static constexpr int STATES = 1;  // membrane

  static void step(float (&state)[STATES], float s, float x, const Constants& c) {
    auto& [v] = state;
    v = (v * c.decay) * (1 - s) + x;
  }

  template <class Spike>
  static float step_back(float (&adjoint)[STATES], float v, float s, const Spike& through_spike,
                         const Constants& c) {
    auto& [lv] = adjoint;
    const float carried = lv * c.decay;
    lv = through_spike(-carried * v) + carried * (1 - s);
    return lv;
  }
};

}  // namespace lif
