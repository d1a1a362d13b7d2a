// The step of dynamic (naive.py), forward and backward, of one neuron.

#pragma once

namespace dynamic {

struct Neuron {
  struct Constants {
    float current_decay, tv, tu, tr, ts;
  };
  static constexpr int STATES = 3;  // membrane, current, recovery

  static void step(float (&state)[STATES], float s, float x, const Constants& c) {
    auto& [v, i, u] = state;
    i = c.current_decay * i + x;
    const float a = v * (1 - s) + c.tr * s;
    const float b = u + c.ts * s;
    v = a + (a * a - a - b + i);
    u = b + (c.tv * a + c.tu * b);
  }

  template <class Spike>
  static float step_back(float (&adjoint)[STATES], float v, float s, const Spike& through_spike,
                         const Constants& c) {
    auto& [lv, li, lu] = adjoint;
    const float a = v * (1 - s) + c.tr * s;
    const float da = lv * (2 * a) + lu * c.tv;
    const float db = lu * (1 + c.tu) - lv;
    lv = through_spike(da * (c.tr - v) + db * c.ts) + da * (1 - s);
    lu = db;
    li = lv + c.current_decay * li;
    return li;
  }
};

}  // namespace dynamic
