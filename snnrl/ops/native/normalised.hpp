// Normalisation per feature, or per feature and time step, and neurons in one pass over each sample,
// forward and backward.

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "coding.hpp"
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

// Sums of the columns of [rows, N], times a scale: in single precision over SUM_ROWS rows, then in
// double. add(r, part) adds row r.
template <class F>
void sum_rows(int64_t rows, int64_t N, float* result, double scale, const F& add) {
  const std::unique_ptr<float[]> parts(new float[blocks_of(rows, SUM_ROWS) * N]());
  share(blocks_of(rows, ROWS), [&](int64_t block) {
    for (int64_t r = block * ROWS; r < end_of(block * ROWS, ROWS, rows); ++r)
      add(r, parts.get() + r / SUM_ROWS * N);
  });
  std::vector<double> total(N);
  for (int64_t part = 0; part < blocks_of(rows, SUM_ROWS); ++part)
    for (int64_t k = 0; k < N; ++k) total[k] += parts[part * N + k];
  for (int64_t k = 0; k < N; ++k) result[k] = float(total[k] * scale);
}

static_assert(ROWS % SUM_ROWS == 0);

// Mean and variance of the columns of x [rows, N].
inline void statistics(int64_t rows, int64_t N, const float* x, float* mean, float* var) {
  sum_rows(rows, N, mean, 1.0 / rows, [&](int64_t r, float* __restrict part) {
    const float* __restrict row = x + r * N;
    for (int64_t k = 0; k < N; ++k) part[k] += row[k];
  });
  sum_rows(rows, N, var, 1.0 / rows, [&](int64_t r, float* __restrict part) {
    const float *__restrict row = x + r * N, *__restrict centre = mean;
    for (int64_t k = 0; k < N; ++k) part[k] += (row[k] - centre[k]) * (row[k] - centre[k]);
  });
}

// Writes what is not null: spikes [T, B, N], their events by row of [T * B, N], counts [B, N]. The
// batch's statistics are written to mean and var, which are those of `norm`.
template <class NEURON, int LANES>
void normalised_forward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                        const float* x, float* mean, float* var, const Normalisation& norm,
                        float* spikes, const Events* events, float* counts) {
  const int64_t parts = norm.statistics_stride ? T : 1;  // whose statistics are their own
  for (int64_t p = 0; p < parts && of_batch; ++p)
    statistics(T * B / parts, N, x + p * B * N, mean + p * N, var + p * N);
  std::vector<Affine<LANES>> maps;
  const int each = norm.has_steps() ? T : 1;
  for (int64_t m = 0; m < N; m += LANES) norm.append<LANES>(maps, T, m, lanes<LANES>(m, N));
  share(blocks_of(B, SAMPLES), [&](int64_t block) {
    const std::unique_ptr<float[]> near(new float[T * N]);
    const int64_t first = block * SAMPLES;
    Emitter emitter(events, first * T, int(N));
    for (int64_t b = first; b < end_of(first, SAMPLES, B); ++b) {
      float* to = spikes ? spikes + b * N : near.get();
      const int64_t stride = spikes ? B * N : N;
      for (int64_t m = 0; m < N; m += LANES)
        fire<NEURON, LANES>(d, T, B * N, lanes<LANES>(m, N), x + b * N + m,
                            Maps<LANES>{&maps[m / LANES * each], each > 1}, to + m, stride,
                            counts ? counts + b * N + m : nullptr);
      for (int t = 0; t < T && events; ++t) emitter.take(t * B + b, to + t * stride, int(N));
    }
  });
}

// With dy the gradient of the normalised currents and z = (x - mean) / sd: dbeta = sum dy and
// dgamma = sum dy z over the rows that share them, R pooled in the statistics. Where these are the
// batch's, dx = (gamma dy - sum gamma dy / R - z sum gamma dy z / R) / sd, with the sums over those
// R rows; where they are constants, the sums are not there. To renormalise is to use the batch's
// statistics for dx, times r = sd / sd of the constants, of which z and dgamma stay.
template <class NEURON, int LANES, bool LEARNS>
void normalised_backward(const Dynamics& d, int T, int64_t B, int64_t N, bool of_batch,
                         bool renormalises, const float* x, const Normalisation& norm,
                         const float* g, int64_t g_stride, float* dx, float* dgamma,
                         float* dbeta, float* dlearned) {
  const int each = norm.has_steps() ? T : 1;
  const bool own_statistics = norm.statistics_stride, own_affine = norm.affine_stride;
  const bool through = of_batch || renormalises;  // the batch's statistics
  std::vector<float> batch_mean, batch_var;
  Normalisation batch = norm;
  if (renormalises) {
    const int64_t parts = own_statistics ? T : 1;
    batch_mean.resize(parts * N);
    batch_var.resize(parts * N);
    for (int64_t p = 0; p < parts; ++p)
      statistics(T * B / parts, N, x + p * B * N, &batch_mean[p * N], &batch_var[p * N]);
    batch.mean = batch_mean.data();
    batch.var = batch_var.data();
  }
  std::vector<Affine<LANES>> maps, batch_maps;
  for (int64_t m = 0; m < N; m += LANES) {
    norm.append<LANES>(maps, T, m, lanes<LANES>(m, N));
    batch.append<LANES>(batch_maps, T, m, lanes<LANES>(m, N));
  }

  // Sums of dy and of dy z, each [each, W]: of single samples, then of all.
  const int64_t W = blocks_of(N, LANES) * LANES, sums = 2 * each * W;
  const std::unique_ptr<float[]> parts(new float[B * sums]);
  const LearnedParts<NEURON, LANES> learned_parts(blocks_of(B, SAMPLES), T, dlearned);
  share(blocks_of(B, SAMPLES), [&](int64_t block) {
    const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
    LearnedSums<NEURON, LANES> learned(LEARNS ? T : 0);
    for (int64_t b = block * SAMPLES; b < end_of(block * SAMPLES, SAMPLES, B); ++b) {
      float* own = parts.get() + b * sums;
      std::memset(own, 0, sums * sizeof(float));
      for (int64_t m = 0; m < N; m += LANES) {
        const int n = lanes<LANES>(m, N);
        const int64_t at = b * N + m;
        const Maps<LANES> map{&maps[m / LANES * each], each > 1};
        fire_back<NEURON, LANES, LEARNS>(
            d, T, B * N, n, x + at, map, g + at, g_stride, dx + at, membranes.get(), learned,
            [&](int t, const float* dy) {
              float z[LANES];
              load<LANES>(z, x + t * B * N + at, n);
              const Affine<LANES>& affine = batch_maps[m / LANES * each + t * map.stride];
              float *sum = own + t * map.stride * W + m, *product = sum + each * W;
              for (int k = 0; k < LANES; ++k) {
                sum[k] += dy[k];
                product[k] += dy[k] * ((z[k] - affine.mean[k]) / affine.sd[k]);
              }
            });
      }
    }
    if (LEARNS) learned.add_to(T, d, learned_parts.of(block));
  });
  learned_parts.finish();
  const std::unique_ptr<double[]> total(new double[sums]());
  share(blocks_of(sums, LANES), [&](int64_t block) {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t k = block * LANES; k < (block + 1) * LANES; ++k) total[k] += parts[b * sums + k];
  });

  const int64_t R = own_statistics ? B : T * B;
  const bool weighted = through && own_affine && !own_statistics;
  const std::unique_ptr<float[]> factor(new float[each * W]), centre(new float[each * W]);
  const std::unique_ptr<float[]> shift(new float[each * W]), slope(new float[each * W]);
  for (int64_t m = 0; m < N; ++m) {
    const Affine<LANES>*value = &maps[m / LANES * each], *map = &batch_maps[m / LANES * each];
    const int k = m % LANES;
    double sum = 0, product = 0;                // over all steps
    double pooled = 0, pooled_product = 0;  // the same, times gamma
    for (int t = 0; t < each; ++t) {
      const double s = total[t * W + m], p = total[(each + t) * W + m];
      // Of dy and the z of the value.
      double of_value = p;
      if (renormalises) {
        const double r = map[t].sd[k] / value[t].sd[k];
        of_value = r * p + (map[t].mean[k] - value[t].mean[k]) / value[t].sd[k] * s;
      }
      sum += s;
      product += of_value;
      pooled += map[t].gamma[k] * s;
      pooled_product += map[t].gamma[k] * p;
      if (own_affine) {
        dbeta[t * N + m] = float(s);
        dgamma[t * N + m] = float(of_value);
      }
    }
    if (!own_affine) {
      dbeta[m] = float(sum);
      dgamma[m] = float(product);
    }
    for (int t = 0; t < each; ++t) {
      const int64_t at = t * W + m;
      const double s = total[at], p = total[each * W + at];
      const float sd = map[t].sd[k];
      centre[at] = map[t].mean[k];
      factor[at] = map[t].gamma[k] / value[t].sd[k];
      shift[at] = through ? float(s) / R : 0;
      slope[at] = through ? float(p) / R / sd : 0;
      if (weighted) {
        shift[at] = float(pooled) / R / value[t].sd[k];
        slope[at] = float(pooled_product) / R / sd / value[t].sd[k];
      }
    }
  }
  share(blocks_of(T * B, ROWS), [&](int64_t block) {
    for (int64_t r = block * ROWS; r < end_of(block * ROWS, ROWS, T * B); ++r) {
      const int64_t own = each > 1 ? r / B * W : 0;
      const float *__restrict f = factor.get() + own, *__restrict c = centre.get() + own;
      const float *__restrict a = shift.get() + own, *__restrict b = slope.get() + own;
      const float* __restrict z = x + r * N;
      float* __restrict dy = dx + r * N;
      if (weighted) {
        for (int64_t k = 0; k < N; ++k) dy[k] = f[k] * dy[k] - a[k] - (z[k] - c[k]) * b[k];
      } else {
        for (int64_t k = 0; k < N; ++k) dy[k] = f[k] * (dy[k] - a[k] - (z[k] - c[k]) * b[k]);
      }
    }
  });
}

}  // namespace
