// The spikes of an encoder.

#pragma once

#include <memory>

#include "events.hpp"

namespace {

constexpr int SAMPLES = 16;  // of a batch in one block

inline void encode_step(int M, float threshold, const float* __restrict a, float* __restrict p,
                        float* __restrict s) {
  for (int k = 0; k < M; ++k) {
    p[k] = p[k] + a[k];
    s[k] = p[k] > threshold ? 1.0f : 0.0f;
    p[k] = p[k] - threshold * s[k];
  }
}

// Events of the spikes of a drive [B, M], by row of [T * B, M].
inline void encode(int T, int64_t B, int M, float threshold, const float* drive,
                   const Events& events) {
  share(blocks_of(B, SAMPLES), [&](int64_t block) {
    const std::unique_ptr<float[]> potential(new float[M]), row(new float[M]);
    const int64_t first = block * SAMPLES;
    Emitter emitter(&events, first * T, M);
    for (int64_t b = first; b < end_of(first, SAMPLES, B); ++b) {
      std::memset(potential.get(), 0, M * sizeof(float));
      for (int t = 0; t < T; ++t) {
        encode_step(M, threshold, drive + b * M, potential.get(), row.get());
        emitter.take(t * B + b, row.get(), M);
      }
    }
  });
}

}  // namespace
