// The step of clif (naive.py), forward and backward, of one neuron.

#pragma once

namespace clif {

struct Neuron {
  struct Constants {
    float current_decay, decay;
  };
  static constexpr int STATES = 2;  // membrane, current

  static void step(float (&state)[STATES], float s, float x, const Constants& c) {
    auto& [v, i] = state;
    i = c.current_decay * i + x;
    v = (v * c.decay) * (1 - s) + i;
  }

  template <class Spike>
  static float step_back(float (&adjoint)[STATES], float v, float s, const Spike& through_spike,
                         const Constants& c) {
    auto& [lv, li] = adjoint;
    const float carried = lv * c.decay;
    lv = through_spike(-carried * v) + carried * (1 - s);
    li = lv + c.current_decay * li;
    return li;
  }
};

}  // namespace clif
