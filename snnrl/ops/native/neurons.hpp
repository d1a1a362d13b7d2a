// Neurons over all time steps, from rest, forward and backward.
//
// A neuron is the struct Neuron of a folder's step.hpp:
//   Constants  floats, in the order of its NamedTuple in naive.py
//   STATES     variables that one step hands to the next, the membrane first, without the spikes
//   step       moves them by one step, from the spikes `s` of the step before and the input `x`
//   step_back  moves their gradients to the step before and returns that of `x`; `v` and `s` are
//              the membrane and the spikes of the step; through_spike(r) is the gradient that
//              reaches `v` through `s`, where `r` is what reaches `s` through the step after
//   constants_back  where constants can learn: the gradients that a step adds to them
// A surrogate is a struct of surrogate/derivative.hpp. SNN_NEURONS and SNN_SURROGATES list them.

#pragma once

#include <memory>
#include <type_traits>

#include "lanes.hpp"
#include "threads.hpp"

namespace {

// What Python calls a Dynamics.
struct Dynamics {
  int neuron, surrogate;  // places in SNN_NEURONS and SNN_SURROGATES
  int count;              // of the constants
  const float* constants;
  float threshold;
  const float* scales;
  int scale_stride;  // from time step to time step; 0: one scale
  float reset_gradient;

  float scale(int t) const { return scales[t * scale_stride]; }
};

template <class NEURON>
typename NEURON::Constants constants_of(const Dynamics& d) {
  typename NEURON::Constants own;
  std::memcpy(&own, d.constants, d.count * sizeof(float));
  return own;
}

template <class NEURON>
bool has_constants(int count) {
  using Constants = typename NEURON::Constants;
  return count * sizeof(float) == (std::is_empty_v<Constants> ? 0 : sizeof(Constants));
}

template <class NEURON, int LANES>
struct State {
  float variables[NEURON::STATES][LANES], spikes[LANES];
};

template <class NEURON, int LANES>
void step(State<NEURON, LANES>& z, const float* x, float threshold,
          const typename NEURON::Constants& c) {
  for (int k = 0; k < LANES; ++k) {
    float one[NEURON::STATES];
    for (int j = 0; j < NEURON::STATES; ++j) one[j] = z.variables[j][k];
    NEURON::step(one, z.spikes[k], x[k], c);
    for (int j = 0; j < NEURON::STATES; ++j) z.variables[j][k] = one[j];
    z.spikes[k] = one[0] > threshold ? 1.0f : 0.0f;
  }
}

// Gradients of what one time step hands to the next.
template <class NEURON, int LANES>
struct Adjoint {
  float variables[NEURON::STATES][LANES];
};

// v is the membrane of the step, g the gradient of its spikes, slope the surrogate's derivative.
// Where it learns, `fired` gets the gradient that reaches v through the spikes.
template <class NEURON, int LANES, bool LEARNS>
void step_back(Adjoint<NEURON, LANES>& __restrict q, const float* __restrict v,
               const float* __restrict g, const float* __restrict slope, float* __restrict dx,
               float* __restrict fired, const Dynamics& d, const typename NEURON::Constants& c) {
  const float threshold = d.threshold, reset_gradient = d.reset_gradient;
  for (int k = 0; k < LANES; ++k) {
    float one[NEURON::STATES];
    for (int j = 0; j < NEURON::STATES; ++j) one[j] = q.variables[j][k];
    const float s = v[k] > threshold ? 1.0f : 0.0f;
    dx[k] = NEURON::step_back(
        one, v[k], s,
        [&](float through_reset) {
          const float gradient = (g[k] + reset_gradient * through_reset) * slope[k];
          if constexpr (LEARNS) fired[k] = gradient;
          return gradient;
        },
        c);
    for (int j = 0; j < NEURON::STATES; ++j) q.variables[j][k] = one[j];
  }
}

template <class SURROGATE, int LANES>
void slopes(const float* __restrict v, float threshold, float scale, float* __restrict slope) {
  for (int k = 0; k < LANES; ++k) slope[k] = SURROGATE::derivative(v[k] - threshold, scale);
}

template <int LANES>
using Slopes = void (*)(const float*, float, float, float*);

template <int LANES, class... SURROGATES>
Slopes<LANES> slopes_of(int surrogate) {
  constexpr Slopes<LANES> all[] = {slopes<SURROGATES, LANES>...};
  return all[surrogate];
}

// Gradients of a neuron's constants, then of the surrogate's scale in each step, summed over some
// samples lane by lane. Those of constants that cannot learn are 0.
template <class NEURON, int LANES>
class LearnedSums {
 public:
  explicit LearnedSums(int T) : sums(new float[size(T) * LANES]()) {}

  static int size(int T) { return CONSTANTS + T; }

  // q: the gradients of the step after; fired: see step_back.
  void add(int t, const Adjoint<NEURON, LANES>& q, const float* v, const float* fired,
           const Dynamics& d) {
    if constexpr (requires { &NEURON::constants_back; }) {
      for (int k = 0; k < LANES; ++k) {
        float one[NEURON::STATES], gradient[CONSTANTS];
        for (int j = 0; j < NEURON::STATES; ++j) one[j] = q.variables[j][k];
        NEURON::constants_back(gradient, one, v[k], v[k] > d.threshold ? 1.0f : 0.0f);
        for (int i = 0; i < CONSTANTS; ++i) sums[i * LANES + k] += gradient[i];
      }
    }
    float* own = sums.get() + (CONSTANTS + t) * LANES;
    for (int k = 0; k < LANES; ++k) own[k] += fired[k] * (v[k] - d.threshold);
  }

  // Adds the sums over all lanes.
  void add_to(int T, const Dynamics& d, double* total) const {
    for (int i = 0; i < size(T); ++i) {
      for (int k = 0; k < LANES; ++k) total[i] += sums[i * LANES + k];
      if (i >= CONSTANTS) total[i] /= d.scale(i - CONSTANTS);
    }
  }

 private:
  using Constants = typename NEURON::Constants;
  static constexpr int CONSTANTS =
      std::is_empty_v<Constants> ? 0 : sizeof(Constants) / sizeof(float);

  const std::unique_ptr<float[]> sums;
};

// The sums of each block of samples, and then of all in `result`, if that is not null.
template <class NEURON, int LANES>
class LearnedParts {
 public:
  LearnedParts(int64_t blocks, int T, float* result)
      : blocks(blocks), T(T), result(result),
        parts(new double[result ? blocks * size() : 0]()) {}

  double* of(int64_t block) const { return parts.get() + block * size(); }

  // Sums over the blocks, in their order.
  void finish() const {
    if (!result) return;
    for (int i = 0; i < size(); ++i) {
      double total = 0;
      for (int64_t block = 0; block < blocks; ++block) total += of(block)[i];
      result[i] = float(total);
    }
  }

 private:
  const int64_t blocks;
  const int T;
  float* const result;
  const std::unique_ptr<double[]> parts;

  int size() const { return LearnedSums<NEURON, LANES>::size(T); }
};

template <int LANES>
struct Nothing {
  void apply(int, const float* x, float* y) const { std::memcpy(y, x, LANES * sizeof(float)); }
};

// Adds the spikes up over time where counts is not null.
template <class NEURON, int LANES, class Map>
void fire(const Dynamics& d, int T, int64_t stride, int n, const float* x, const Map& map,
          float* spikes, int64_t spikes_stride, float* counts) {
  const auto c = constants_of<NEURON>(d);
  State<NEURON, LANES> z = {};
  float currents[LANES], total[LANES];
  if (counts) std::memset(total, 0, sizeof total);
  for (int t = 0; t < T; ++t) {
    load<LANES>(currents, x + t * stride, n);
    map.apply(t, currents, currents);
    step<NEURON, LANES>(z, currents, d.threshold, c);
    store<LANES>(spikes + t * spikes_stride, z.spikes, n);
    if (counts)
      for (int k = 0; k < LANES; ++k) total[k] += z.spikes[k];
  }
  if (counts) store<LANES>(counts, total, n);
}

// Leaves the gradient of the mapped currents in dx, and shows each time step of it to take. Where
// it learns, adds to `learned`.
template <class NEURON, int LANES, bool LEARNS, class Map, class F>
void fire_back(const Dynamics& d, int T, int64_t stride, int n, const float* x, const Map& map,
               const float* g, int64_t g_stride, float* dx, float* membranes,
               LearnedSums<NEURON, LANES>& learned, F take) {
  const auto c = constants_of<NEURON>(d);
  const auto slopes = slopes_of<LANES, SNN_SURROGATES>(d.surrogate);
  State<NEURON, LANES> z = {};
  float lane[LANES], gradient[LANES], slope[LANES], fired[LANES];
  for (int t = 0; t < T; ++t) {
    load<LANES>(lane, x + t * stride, n);
    map.apply(t, lane, lane);
    step<NEURON, LANES>(z, lane, d.threshold, c);
    std::memcpy(membranes + int64_t(t) * LANES, z.variables[0], sizeof z.variables[0]);
  }
  Adjoint<NEURON, LANES> q = {};
  for (int t = T - 1; t >= 0; --t) {
    const float* v = membranes + int64_t(t) * LANES;
    load<LANES>(lane, g + t * g_stride, n);
    slopes(v, d.threshold, d.scale(t), slope);
    const Adjoint<NEURON, LANES> after = q;
    step_back<NEURON, LANES, LEARNS>(q, v, lane, slope, gradient, fired, d, c);
    if constexpr (LEARNS) learned.add(t, after, v, fired, d);
    store<LANES>(dx + t * stride, gradient, n);
    take(t, gradient);
  }
}

constexpr int64_t NEURONS = 8192;  // in one block

template <class NEURON, int LANES>
void neuron_forward(const Dynamics& d, int T, int64_t M, const float* x, float* spikes,
                    float* counts) {
  share(blocks_of(M, NEURONS), [&](int64_t block) {
    for (int64_t m = block * NEURONS; m < end_of(block * NEURONS, NEURONS, M); m += LANES)
      fire<NEURON, LANES>(d, T, M, lanes<LANES>(m, M), x + m, Nothing<LANES>(), spikes + m, M,
                          counts ? counts + m : nullptr);
  });
}

template <class NEURON, int LANES, bool LEARNS>
void neuron_backward(const Dynamics& d, int T, int64_t M, const float* x, const float* g,
                     int64_t g_stride, float* dx, float* dlearned) {
  const int64_t blocks = blocks_of(M, NEURONS);
  const LearnedParts<NEURON, LANES> parts(blocks, T, dlearned);
  share(blocks, [&](int64_t block) {
    const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
    LearnedSums<NEURON, LANES> learned(LEARNS ? T : 0);
    for (int64_t m = block * NEURONS; m < end_of(block * NEURONS, NEURONS, M); m += LANES)
      fire_back<NEURON, LANES, LEARNS>(d, T, M, lanes<LANES>(m, M), x + m, Nothing<LANES>(), g + m,
                                       g_stride, dx + m, membranes.get(), learned,
                                       [](int, float*) {});
    if (LEARNS) learned.add_to(T, d, parts.of(block));
  });
  parts.finish();
}

struct WrongConstants {};

template <class NEURON, class F>
void choose_lanes(const Dynamics& d, int64_t features, F f) {
  if (!has_constants<NEURON>(d.count)) throw WrongConstants();
  if (features <= 64) {
    f.template operator()<NEURON, 64>();
  } else {
    f.template operator()<NEURON, 128>();
  }
}

template <class... NEURONS, class F>
void choose_among(const Dynamics& d, int64_t features, F f) {
  int place = 0;
  ((place++ == d.neuron ? choose_lanes<NEURONS>(d, features, f) : void()), ...);
}

// Calls f with the neuron and the number of lanes for rows of so many features.
template <class F>
void choose(const Dynamics& d, int64_t features, F f) {
  choose_among<SNN_NEURONS>(d, features, f);
}

}  // namespace
