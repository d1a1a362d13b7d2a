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

  // What a step adds to the gradient of the decay: `lv` is the gradient of the membrane of the step
  // after, and `v` and `s` are those of this one.
  static void constants_back(float (&gradient)[1], const float (&adjoint)[STATES], float v,
                             float s) {
    gradient[0] = adjoint[0] * v * (1 - s);
  }
};

}  // namespace lif
