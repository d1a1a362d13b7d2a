// A network that only infers: a few samples pass through all layers before the next ones.

#pragma once

#include <memory>

#include "coding.hpp"
#include "events.hpp"
#include "normalised.hpp"

namespace {

template <int FLOATS>
using Row [[gnu::vector_size(FLOATS * sizeof(float))]] = float;

// Sum of all floats: halves are added until one is left.
template <int FLOATS>
inline float total(Row<FLOATS> row) {
  Row<FLOATS / 2> halves[2];
  std::memcpy(halves, &row, sizeof row);
  return total<FLOATS / 2>(halves[0] + halves[1]);
}

template <>
inline float total<2>(Row<2> row) {
  return row[0] + row[1];
}

// Sum of a[k] b[k].
inline float dot(int K, const float* a, const float* b) {
  Block sum(nothing);
  int k = 0;
  for (; k + COLUMNS <= K; k += COLUMNS) sum.add_product(Block(a + k), Block(b + k));
  float rest = 0;
  for (; k < K; ++k) rest += a[k] * b[k];
  float sums[COLUMNS];
  sum.put(sums);
  Row<COLUMNS> all;
  std::memcpy(&all, sums, sizeof all);
  return total<COLUMNS>(all) + rest;
}

// y [R, N] = rows [R, K] weight [N, K]^T + bias, for few rows: each weight is read once.
inline void dense_product(int R, int K, int N, const float* rows, const float* weight, const float* bias,
                   float* y) {
  for (int n = 0; n < N; ++n)
    for (int r = 0; r < R; ++r)
      y[r * N + n] = dot(K, rows + r * K, weight + int64_t(n) * K) + (bias ? bias[n] : 0);
}

// A layer that only infers; its normalisation is absent where its mean is null.
struct Layer {
  const Dynamics* dynamics;
  int inputs, outputs;
  const float *weight, *bias;
  Normalisation norm;
};

// Currents of a few samples -> spikes of rows t * samples + b; the currents of a step are `stride`
// behind those of the step before. Adds the spikes up over time where counts is not null.
template <class NEURON, int LANES>
void infer_neurons(const Layer& layer, int T, int samples, const float* x, int64_t stride,
                   float* spikes, float* counts) {
  const int N = layer.outputs;
  std::vector<Affine<LANES>> maps;
  for (int m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    maps.clear();
    if (layer.norm.mean) layer.norm.append<LANES>(maps, T, m, n);
    for (int b = 0; b < samples; ++b) {
      const float* from = x + b * N + m;
      float* to = spikes + b * N + m;
      float* sum = counts ? counts + b * N + m : nullptr;
      if (layer.norm.mean) {
        const Maps<LANES> map{maps.data(), layer.norm.has_steps()};
        fire<NEURON, LANES>(*layer.dynamics, T, stride, n, from, map, to, samples * N, sum);
      } else {
        fire<NEURON, LANES>(*layer.dynamics, T, stride, n, from, Nothing<LANES>(), to,
                            samples * N, sum);
      }
    }
  }
}

// A whole network that infers: drive or currents [B, M] -> spikes of its last layer over time
// [B, N]. Nothing between the layers leaves the cache. Without encodes the first layer sees the
// same input in every step.
inline void infer(int T, int64_t B, int M, bool encodes, float threshold, const float* drive,
                  int layers, const Layer* layer, float* counts) {
  constexpr int FEWEST_ROWS = 16;  // from which packing the weights pays
  const bool packs = T * B >= FEWEST_ROWS;
  int widest = M;
  int64_t weights = 0;
  for (int l = 0; l < layers; ++l) {
    weights += packed_size(layer[l].inputs, layer[l].outputs);
    widest = layer[l].outputs > widest ? layer[l].outputs : widest;
  }
  const std::unique_ptr<float[]> packed(new float[packs ? weights : 0]);
  float* to = packed.get();
  for (int l = 0; l < layers && packs; ++l) {
    pack(layer[l].inputs, layer[l].outputs, layer[l].weight, to);
    to += packed_size(layer[l].inputs, layer[l].outputs);
  }
  share(blocks_of(B, SAMPLES), [&](int64_t block) {
    const int64_t first = block * SAMPLES;
    const int samples = int(end_of(first, SAMPLES, B) - first), rows = T * samples;
    const std::unique_ptr<float[]> potential(new float[M]);
    const std::unique_ptr<float[]> spikes(new float[int64_t(rows) * widest]);
    const std::unique_ptr<float[]> currents(new float[int64_t(rows) * widest]);
    const std::unique_ptr<uint16_t[]> indices(new uint16_t[int64_t(rows) * (widest + PADDING)]);
    const std::unique_ptr<int32_t[]> starts(new int32_t[rows]), sizes(new int32_t[rows]);
    const Events events{indices.get(), starts.get(), sizes.get()};
    for (int b = 0; b < samples && encodes; ++b) {
      std::memset(potential.get(), 0, M * sizeof(float));
      for (int t = 0; t < T; ++t)
        encode_step(M, threshold, drive + (first + b) * M, potential.get(),
                    spikes.get() + int64_t(t * samples + b) * M);
    }
    const float* from = packed.get();
    for (int l = 0; l < layers; ++l) {
      const int K = layer[l].inputs, N = layer[l].outputs;
      const bool same = l == 0 && !encodes;
      if (same) {
        dense_product(samples, K, N, drive + first * M, layer[l].weight, layer[l].bias,
                      currents.get());
      } else if (!packs) {
        dense_product(rows, K, N, spikes.get(), layer[l].weight, layer[l].bias, currents.get());
      } else {
        Emitter emitter(&events, 0, K);
        for (int r = 0; r < rows; ++r) emitter.take(r, spikes.get() + int64_t(r) * K, K);
        event_product(0, rows, K, N, events, from, layer[l].bias, currents.get());
      }
      if (packs) from += packed_size(K, N);
      float* counted = l == layers - 1 ? counts + first * N : nullptr;
      choose(*layer[l].dynamics, N, [&]<class NEURON, int LANES>() {
        infer_neurons<NEURON, LANES>(layer[l], T, samples, currents.get(), same ? 0 : samples * N,
                                     spikes.get(), counted);
      });
    }
  });
}

}  // namespace
