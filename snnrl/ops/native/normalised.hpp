// Normalisation per feature and neurons in one pass over a block of features, forward and backward.

#pragma once

#include <cmath>
#include <vector>

#include "events.hpp"
#include "neurons.hpp"

namespace {

constexpr int SUM_ROWS = 32;  // rows that are summed in single precision

// y = (x - mean) / sd * gamma + beta of a block of features.
template <int LANES>
struct Affine {
  float mean[LANES], sd[LANES], gamma[LANES], beta[LANES];

  Affine(const float* mean_, const float* var_, const float* gamma_, const float* beta_, float eps,
         int n) {
    load<LANES>(mean, mean_, n);
    load<LANES>(sd, var_, n);
    load<LANES>(gamma, gamma_, n);
    load<LANES>(beta, beta_, n);
    for (int k = 0; k < LANES; ++k) sd[k] = std::sqrt(sd[k] + eps);
  }

  void apply(const float* x, float* y) const {
    for (int k = 0; k < LANES; ++k) y[k] = (x[k] - mean[k]) / sd[k] * gamma[k] + beta[k];
  }
};

// Sum of f(row) over all rows, for a block of features: in single precision over few rows, then
// in double.
template <int LANES, class F>
void sum_rows(int64_t rows, float* result, double scale, F f) {
  double total[LANES] = {};
  for (int64_t first = 0; first < rows; first += SUM_ROWS) {
    float part[LANES] = {};
    const int64_t last = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    for (int64_t r = first; r < last; ++r) f(r, part);
    for (int k = 0; k < LANES; ++k) total[k] += part[k];
  }
  for (int k = 0; k < LANES; ++k) result[k] = float(total[k] * scale);
}

template <int LANES>
void statistics(int64_t rows, int64_t N, int n, const float* x, float* mean_, float* var_) {
  float mean[LANES], var[LANES];
  sum_rows<LANES>(rows, mean, 1.0 / rows, [&](int64_t r, float* part) {
    float lane[LANES];
    load<LANES>(lane, x + r * N, n);
    for (int k = 0; k < LANES; ++k) part[k] += lane[k];
  });
  sum_rows<LANES>(rows, var, 1.0 / rows, [&](int64_t r, float* part) {
    float lane[LANES];
    load<LANES>(lane, x + r * N, n);
    for (int k = 0; k < LANES; ++k) part[k] += (lane[k] - mean[k]) * (lane[k] - mean[k]);
  });
  store<LANES>(mean_, mean, n);
  store<LANES>(var_, var, n);
}

// Writes what is not null: spikes [T, B, N], their events by row of [T * B, N], counts [B, N].
template <class NEURON, int LANES>
void normalised_forward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                        const float* x, float* mean, float* var, const float* gamma,
                        const float* beta, float eps, float* spikes, const Events* events,
                        float* counts) {
  std::vector<Affine<LANES>> maps;
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    if (of_batch) statistics<LANES>(T * B, N, n, x + m, mean + m, var + m);
    maps.emplace_back(mean + m, var + m, gamma + m, beta + m, eps, n);
  }
  const std::unique_ptr<float[]> near(new float[T * N]);
  Emitter emitter{events};
  for (int64_t b = 0; b < B; ++b) {
    float* to = spikes ? spikes + b * N : near.get();
    const int64_t stride = spikes ? B * N : N;
    for (int64_t m = 0; m < N; m += LANES)
      fire<NEURON, LANES>(d, T, B * N, lanes<LANES>(m, N), x + b * N + m, maps[m / LANES], to + m,
                          stride, counts ? counts + b * N + m : nullptr);
    for (int t = 0; t < T && events; ++t) emitter.take(t * B + b, to + t * stride, int(N));
  }
}

// With dy the gradient of the normalised currents and z = (x - mean) / sd, over R rows:
// dbeta = sum dy, dgamma = sum dy z, and dx = gamma / sd (dy - dbeta / R - z dgamma / R); the last
// two terms are there only where the statistics are the batch's.
template <class NEURON, int LANES>
void normalised_backward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                         const float* x, const float* mean, const float* var, const float* gamma,
                         const float* beta, float eps, const float* g, int64_t g_stride, float* dx,
                         float* dgamma, float* dbeta) {
  const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
  const int64_t R = T * B;
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    const Affine<LANES> map(mean + m, var + m, gamma + m, beta + m, eps, n);
    double total[LANES] = {}, total_product[LANES] = {};
    for (int64_t b = 0; b < B; ++b) {
      const int64_t at = b * N + m;
      float part[LANES] = {}, part_product[LANES] = {};
      fire_back<NEURON, LANES>(
          d, T, B * N, n, x + at, map, g + at, g_stride, dx + at, membranes.get(),
          [&](int t, const float* dy) {
            float z[LANES];
            load<LANES>(z, x + t * B * N + at, n);
            for (int k = 0; k < LANES; ++k) {
              part[k] += dy[k];
              part_product[k] += dy[k] * ((z[k] - map.mean[k]) / map.sd[k]);
            }
          });
      for (int k = 0; k < LANES; ++k) {
        total[k] += part[k];
        total_product[k] += part_product[k];
      }
    }
    float sum[LANES], product[LANES];
    for (int k = 0; k < LANES; ++k) {
      sum[k] = float(total[k]);
      product[k] = float(total_product[k]);
    }
    store<LANES>(dbeta + m, sum, n);
    store<LANES>(dgamma + m, product, n);
    float factor[LANES], shift[LANES], slope[LANES];
    for (int k = 0; k < LANES; ++k) {
      factor[k] = map.gamma[k] / map.sd[k];
      shift[k] = of_batch ? sum[k] / R : 0;
      slope[k] = of_batch ? product[k] / R / map.sd[k] : 0;
    }
    for (int64_t r = 0; r < R; ++r) {
      float dy[LANES], z[LANES];
      load<LANES>(dy, dx + r * N + m, n);
      load<LANES>(z, x + r * N + m, n);
      for (int k = 0; k < LANES; ++k)
        dy[k] = factor[k] * (dy[k] - shift[k] - (z[k] - map.mean[k]) * slope[k]);
      store<LANES>(dx + r * N + m, dy, n);
    }
  }
}

}  // namespace
