// Products of dense matrices, and perceptrons made of them. Each block of rows is one call of BLAS,
// for one thread as for many.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "threads.hpp"

namespace {

// As Fortran calls it: matrices by columns, numbers by address.
typedef void (*Sgemm)(const char* transposes_a, const char* transposes_b, const int* m,
                      const int* n, const int* k, const float* alpha, const float* a,
                      const int* lda, const float* b, const int* ldb, const float* beta, float* c,
                      const int* ldc);
Sgemm sgemm = nullptr;

// Sets how many threads BLAS has for the calling thread; returns the number before. BLAS cuts a
// product by it, so that another number may round differently.
int (*set_blas_threads)(int) = nullptr;

// Rows of a block: enough for BLAS to be quick, and as many blocks as threads may be.
inline int64_t rows_of_block(int64_t rows) {
  constexpr int64_t FEWEST = 128, BLOCKS = 8;
  const int64_t share_of_each = blocks_of(rows, BLOCKS);
  return share_of_each > FEWEST ? share_of_each : FEWEST;
}

inline void multiply(char a_is, char b_is, int m, int n, int k, const float* a, int lda,
                     const float* b, int ldb, float beta, float* c, int ldc) {
  const float alpha = 1;
  lda = std::max(lda, 1), ldb = std::max(ldb, 1), ldc = std::max(ldc, 1);
  const int before = set_blas_threads ? set_blas_threads(1) : 0;
  sgemm(&a_is, &b_is, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
  if (set_blas_threads) set_blas_threads(before);
}

// y [R, N] = x [R, K] weight [N, K]^T + bias
inline void affine(int R, int K, int N, const float* x, const float* weight, const float* bias,
                   float* y) {
  for (int r = 0; r < R && bias; ++r) std::memcpy(y + int64_t(r) * N, bias, N * sizeof(float));
  multiply('T', 'N', N, R, K, weight, K, x, K, bias ? 1 : 0, y, N);
}

// dx [R, K] = g [R, N] weight [N, K]
inline void affine_back(int R, int K, int N, const float* g, const float* weight, float* dx) {
  multiply('N', 'N', K, R, N, weight, K, g, N, 0, dx, K);
}

// Rows `first` to `last` of dweight [N, K] = g [R, N]^T x [R, K]
inline void weight_gradient(int first, int last, int R, int K, int N, const float* g,
                            const float* x, float* dweight) {
  multiply('N', 'T', K, last - first, R, x, K, g + first, N, 0, dweight + int64_t(first) * K, K);
}

// One linear map of a perceptron, with or without a ReLU behind it. Its values [B, N] are those
// behind the ReLU, g their gradient in front of it. What a pass does not need is null.
struct Map {
  int inputs, outputs, rectifies;
  const float *weight, *bias;
  float *values, *g, *dweight;
};

// x [B, K] -> values of each map.
inline void perceptron(int64_t B, const float* x, int layers, const Map* map) {
  const int64_t size = rows_of_block(B);
  share(blocks_of(B, size), [&](int64_t block) {
    const int64_t first = block * size;
    const int R = int(end_of(first, size, B) - first);
    const float* from = x + first * map[0].inputs;
    for (int l = 0; l < layers; ++l) {
      const int N = map[l].outputs;
      float* to = map[l].values + first * N;
      affine(R, map[l].inputs, N, from, map[l].weight, map[l].bias, to);
      if (map[l].rectifies)
        for (int64_t i = 0; i < int64_t(R) * N; ++i) to[i] = to[i] < 0 ? 0 : to[i];
      from = to;
    }
  });
}

// Gradients of the weights and, if not null, of x [B, K]. The last g holds the gradient of the last
// values.
inline void perceptron_back(int64_t B, const float* x, int layers, const Map* map, float* dx) {
  const int64_t size = rows_of_block(B);
  share(blocks_of(B, size), [&](int64_t block) {
    const int64_t first = block * size;
    const int R = int(end_of(first, size, B) - first);
    for (int l = layers - 1; l >= 0; --l) {
      const int K = map[l].inputs, N = map[l].outputs;
      float* g = map[l].g + first * N;
      const float* values = map[l].values + first * N;
      if (map[l].rectifies)
        for (int64_t i = 0; i < int64_t(R) * N; ++i) g[i] = values[i] <= 0 ? 0 : g[i];
      float* to = l ? map[l - 1].g : dx;
      if (to) affine_back(R, K, N, g, map[l].weight, to + first * K);
    }
  });
  for (int l = 0; l < layers; ++l) {
    if (!map[l].dweight) continue;
    const int K = map[l].inputs, N = map[l].outputs;
    const int64_t size = rows_of_block(N);
    share(blocks_of(N, size), [&](int64_t block) {
      weight_gradient(int(block * size), int(end_of(block * size, size, N)), int(B), K, N, map[l].g,
                      l ? map[l - 1].values : x, map[l].dweight);
    });
  }
}

}  // namespace
