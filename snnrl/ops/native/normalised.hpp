// Normalisation per feature, or per feature and time step, and neurons in one pass over a block of features, forward and backward.

#pragma once

#include <algorithm>
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

// The maps of a block of features, of every time step or (stride 0) one for all of them.
template <int LANES>
struct Maps {
  const Affine<LANES>* first;
  int stride;

  const Affine<LANES>& at(int t) const { return first[t * stride]; }
  void apply(int t, const float* x, float* y) const { at(t).apply(x, y); }
};

// Mean and variance, gamma and beta in memory: [N], or [T, N] with a stride of N from step to step.
struct Normalisation {
  const float *mean, *var, *gamma, *beta;
  float eps;
  int64_t statistics_stride, affine_stride;

  bool has_steps() const { return statistics_stride || affine_stride; }

  // Appends the maps of a block of features: one, or T.
  template <int LANES>
  void append(std::vector<Affine<LANES>>& maps, int T, int64_t m, int n) const {
    for (int t = 0; t < (has_steps() ? T : 1); ++t) {
      const int64_t s = t * statistics_stride + m, a = t * affine_stride + m;
      maps.emplace_back(mean + s, var + s, gamma + a, beta + a, eps, n);
    }
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

// Writes what is not null: spikes [T, B, N], their events by row of [T * B, N], counts [B, N]. The
// batch's statistics are written to mean and var, which are those of `norm`.
template <class NEURON, int LANES>
void normalised_forward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                        const float* x, float* mean, float* var, const Normalisation& norm,
                        float* spikes, const Events* events, float* counts) {
  std::vector<Affine<LANES>> maps;
  const int each = norm.has_steps() ? T : 1;
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    const int64_t parts = norm.statistics_stride ? T : 1;  // whose statistics are their own
    for (int64_t p = 0; p < parts && of_batch; ++p)
      statistics<LANES>(T * B / parts, N, n, x + p * B * N + m, mean + p * N + m, var + p * N + m);
    norm.append<LANES>(maps, T, m, n);
  }
  const std::unique_ptr<float[]> near(new float[T * N]);
  Emitter emitter{events};
  for (int64_t b = 0; b < B; ++b) {
    float* to = spikes ? spikes + b * N : near.get();
    const int64_t stride = spikes ? B * N : N;
    for (int64_t m = 0; m < N; m += LANES)
      fire<NEURON, LANES>(d, T, B * N, lanes<LANES>(m, N), x + b * N + m,
                          Maps<LANES>{&maps[m / LANES * each], each > 1}, to + m, stride,
                          counts ? counts + b * N + m : nullptr);
    for (int t = 0; t < T && events; ++t) emitter.take(t * B + b, to + t * stride, int(N));
  }
}

// With dy the gradient of the normalised currents and z = (x - mean) / sd: dbeta = sum dy and
// dgamma = sum dy z over the rows that share them, R pooled in the statistics. Where these are the
// batch's, dx = (gamma dy - sum gamma dy / R - z sum gamma dy z / R) / sd, with the sums over those
// R rows; where they are constants, the sums are not there.
template <class NEURON, int LANES>
void normalised_backward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                         const float* x, const Normalisation& norm, const float* g,
                         int64_t g_stride, float* dx, float* dgamma, float* dbeta) {
  const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
  const int each = norm.has_steps() ? T : 1;
  const bool own_statistics = norm.statistics_stride, own_affine = norm.affine_stride;
  const int64_t R = own_statistics ? B : T * B;
  std::vector<Affine<LANES>> maps;
  std::vector<double> total(each * LANES), total_product(each * LANES);
  std::vector<float> part(each * LANES), part_product(each * LANES);
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    maps.clear();
    norm.append<LANES>(maps, T, m, n);
    const Maps<LANES> map{maps.data(), each > 1};
    std::fill(total.begin(), total.end(), 0.0);
    std::fill(total_product.begin(), total_product.end(), 0.0);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t at = b * N + m;
      std::fill(part.begin(), part.end(), 0.0f);
      std::fill(part_product.begin(), part_product.end(), 0.0f);
      fire_back<NEURON, LANES>(
          d, T, B * N, n, x + at, map, g + at, g_stride, dx + at, membranes.get(),
          [&](int t, const float* dy) {
            float z[LANES];
            load<LANES>(z, x + t * B * N + at, n);
            const Affine<LANES>& own = map.at(t);
            float* sum = &part[t * map.stride * LANES];
            float* product = &part_product[t * map.stride * LANES];
            for (int k = 0; k < LANES; ++k) {
              sum[k] += dy[k];
              product[k] += dy[k] * ((z[k] - own.mean[k]) / own.sd[k]);
            }
          });
      for (int k = 0; k < each * LANES; ++k) {
        total[k] += part[k];
        total_product[k] += part_product[k];
      }
    }
    double sum[LANES] = {}, product[LANES] = {};          // over all steps
    double pooled[LANES] = {}, pooled_product[LANES] = {};  // the same, times gamma
    for (int t = 0; t < each; ++t) {
      float one[LANES], one_product[LANES];
      for (int k = 0; k < LANES; ++k) {
        const double s = total[t * LANES + k], p = total_product[t * LANES + k];
        one[k] = float(s);
        one_product[k] = float(p);
        sum[k] += s;
        product[k] += p;
        pooled[k] += maps[t].gamma[k] * s;
        pooled_product[k] += maps[t].gamma[k] * p;
      }
      if (own_affine) {
        store<LANES>(dbeta + t * N + m, one, n);
        store<LANES>(dgamma + t * N + m, one_product, n);
      }
    }
    if (!own_affine) {
      float all[LANES], all_product[LANES];
      for (int k = 0; k < LANES; ++k) {
        all[k] = float(sum[k]);
        all_product[k] = float(product[k]);
      }
      store<LANES>(dbeta + m, all, n);
      store<LANES>(dgamma + m, all_product, n);
    }
    const bool weighted = of_batch && own_affine && !own_statistics;
    for (int t = 0; t < each; ++t) {
      const Affine<LANES>& own = maps[t];
      float factor[LANES], shift[LANES], slope[LANES];
      for (int k = 0; k < LANES; ++k) {
        factor[k] = own.gamma[k] / own.sd[k];
        shift[k] = of_batch ? float(total[t * LANES + k]) / R : 0;
        slope[k] = of_batch ? float(total_product[t * LANES + k]) / R / own.sd[k] : 0;
        if (weighted) {
          shift[k] = float(pooled[k]) / R / own.sd[k];
          slope[k] = float(pooled_product[k]) / R / own.sd[k] / own.sd[k];
        }
      }
      for (int64_t r = 0; r < T * B / each; ++r) {
        const int64_t at = (t * B + r) * N + m;
        float dy[LANES], z[LANES];
        load<LANES>(dy, dx + at, n);
        load<LANES>(z, x + at, n);
        if (weighted) {
          for (int k = 0; k < LANES; ++k)
            dy[k] = factor[k] * dy[k] - shift[k] - (z[k] - own.mean[k]) * slope[k];
        } else {
          for (int k = 0; k < LANES; ++k)
            dy[k] = factor[k] * (dy[k] - shift[k] - (z[k] - own.mean[k]) * slope[k]);
        }
        store<LANES>(dx + at, dy, n);
      }
    }
  }
}

}  // namespace
