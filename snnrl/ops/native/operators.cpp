// The operators of spiking layers for a CPU, on float32 arrays, time first.
//
// Equations: each neuron's and the surrogates' naive.py, snnrl/nn/norm/batch.py for the
// normalisation, snnrl/nn/encoders/population.py for the
// encoder.
//
// Sums run over rows in a fixed order, lane by lane, and nothing is contracted into fused
// multiply-adds: results do not depend on the width of the machine's vectors.

#include <cstdint>
#include <new>
#include <system_error>

#include "coding.hpp"
#include "dense.hpp"
#include "events.hpp"
#include "inference.hpp"
#include "normalised.hpp"

namespace {

// What leaves the C++ side, as calls.py reads it.
enum Status { DONE, NO_MEMORY, WRONG_CONSTANTS, NO_THREAD };

template <class F>
int guarded(F f) {
  try {
    f();
    return DONE;
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  } catch (const WrongConstants&) {
    return WRONG_CONSTANTS;
  } catch (const std::system_error&) {
    return NO_THREAD;
  }
}

}  // namespace

extern "C" {

void snn_use_threads(int number) { threads = number; }

void snn_use_blas(Sgemm product, int (*set_threads)(int)) {
  sgemm = product;
  set_blas_threads = set_threads;
}

// y [R, K] = g [R, N] weight [N, K]
int snn_product(int64_t R, int K, int N, const float* g, const float* weight, float* y) {
  return guarded([&] {
    const int64_t size = rows_of_block(R);
    share(blocks_of(R, size), [&](int64_t block) {
      const int64_t first = block * size;
      const int rows = int(end_of(first, size, R) - first);
      affine_back(rows, K, N, g + first * N, weight, y + first * K);
    });
  });
}

int snn_perceptron(int64_t B, const float* x, int layers, const Map* map) {
  return guarded([&] { perceptron(B, x, layers, map); });
}

int snn_perceptron_back(int64_t B, const float* x, int layers, const Map* map, float* dx) {
  return guarded([&] { perceptron_back(B, x, layers, map, dx); });
}

int snn_neuron_forward(const Dynamics* d, int T, int64_t M, const float* x, float* spikes,
                       float* counts) {
  return guarded([&] {
    choose(*d, M, [&]<class NEURON, int LANES>() {
      neuron_forward<NEURON, LANES>(*d, T, M, x, spikes, counts);
    });
  });
}

// dlearned: null, or the gradients of the constants and of the surrogate's scale in each step.
int snn_neuron_backward(const Dynamics* d, int T, int64_t M, const float* x, const float* g,
                        int64_t g_stride, float* dx, float* dlearned) {
  return guarded([&] {
    choose(*d, M, [&]<class NEURON, int LANES>() {
      const auto backward =
          dlearned ? neuron_backward<NEURON, LANES, true> : neuron_backward<NEURON, LANES, false>;
      backward(*d, T, M, x, g, g_stride, dx, dlearned);
    });
  });
}

int snn_normalised_forward(const Dynamics* d, int T, int64_t B, int64_t N, int of_batch,
                           const float* x, float* mean, float* var, const Normalisation* norm,
                           float* spikes, const Events* events, float* counts) {
  return guarded([&] {
    choose(*d, N, [&]<class NEURON, int LANES>() {
      normalised_forward<NEURON, LANES>(*d, T, B, N, of_batch, x, mean, var, *norm, spikes, events,
                                        counts);
    });
  });
}

int snn_normalised_backward(const Dynamics* d, int T, int64_t B, int64_t N, int of_batch,
                            int renormalises, const float* x, const Normalisation* norm,
                            const float* g, int64_t g_stride, float* dx, float* dgamma,
                            float* dbeta, float* dlearned) {
  return guarded([&] {
    choose(*d, N, [&]<class NEURON, int LANES>() {
      const auto backward = dlearned ? normalised_backward<NEURON, LANES, true>
                                     : normalised_backward<NEURON, LANES, false>;
      backward(*d, T, B, N, of_batch, renormalises, x, *norm, g, g_stride, dx, dgamma, dbeta,
               dlearned);
    });
  });
}

int snn_encode(int T, int64_t B, int M, float threshold, const float* drive,
               const Events* events) {
  return guarded([&] { encode(T, B, M, threshold, drive, *events); });
}

int snn_events(int64_t R, int K, const float* spikes, const Events* events) {
  return guarded([&] {
    share(blocks_of(R, ROWS), [&](int64_t block) {
      const int64_t first = block * ROWS;
      Emitter emitter(events, first, K);
      for (int64_t r = first; r < end_of(first, ROWS, R); ++r) emitter.take(r, spikes + r * K, K);
    });
  });
}

// y [R, N] = spikes [R, K] weight [N, K]^T + bias; scratch holds the packed weights. Rows go in
// blocks, so that a block of y is written while it is in the cache.
int snn_event_product(int64_t R, int K, int N, const Events* events, const float* weight,
                      const float* bias, float* y, float* scratch) {
  return guarded([&] {
    pack(K, N, weight, scratch);
    share(blocks_of(R, ROWS), [&](int64_t block) {
      const int64_t first = block * ROWS;
      event_product(first, end_of(first, ROWS, R), K, N, *events, scratch, bias, y);
    });
  });
}

int snn_event_gradient(int64_t R, int K, int N, const Events* events, const float* g,
                       float* dweight) {
  return guarded([&] { event_gradient(R, K, N, *events, g, dweight); });
}

int snn_infer(int T, int64_t B, int M, int encodes, float threshold, const float* drive,
              int layers, const Layer* layer, float* counts) {
  return guarded([&] { infer(T, B, M, encodes, threshold, drive, layers, layer, counts); });
}
}
