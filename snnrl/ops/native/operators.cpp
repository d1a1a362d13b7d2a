// The operators of spiking layers for a CPU, on float32 arrays, time first.
//
// Equations: the naive operators (snnrl/ops/{lif,clif,dynamic}/naive.py) for the neurons,
// snnrl/nn/norm/pooled.py for the normalisation, snnrl/nn/coding.py for the encoder.
//
// Sums run over rows in a fixed order, lane by lane, and nothing is contracted into fused
// multiply-adds: results do not depend on the width of the machine's vectors.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 64;          // neurons that are computed side by side
constexpr int COLUMNS = 32;        // outputs in one block of a product with events
constexpr int ROWS = 128;          // rows in one block of a gradient of weights
constexpr int SUM_ROWS = 32;       // rows that are summed in single precision

enum Neuron { LIF, CLIF, DN };
enum Surrogate { RECTANGULAR, SIGMOID, TANH, TRIANGLE };

struct Constants {
  float threshold, decay, current_decay, tv, tu, tr, ts, scale, reset_gradient;
};

struct State {
  float v[LANES], s[LANES], i[LANES], u[LANES];
};

// Gradients of what one time step hands to the next.
struct Carried {
  float v[LANES], i[LANES], u[LANES];
};

void load(float* to, const float* from, int n) {
  if (n == LANES) {
    std::memcpy(to, from, LANES * sizeof(float));
  } else {
    std::memset(to, 0, LANES * sizeof(float));
    std::memcpy(to, from, n * sizeof(float));
  }
}

void store(float* to, const float* from, int n) {
  if (n == LANES) {
    std::memcpy(to, from, LANES * sizeof(float));
  } else {
    std::memcpy(to, from, n * sizeof(float));
  }
}

int lanes(int64_t first, int64_t all) { return all - first < LANES ? int(all - first) : LANES; }

template <int NEURON>
void step(State& z, const float* x, const Constants& c) {
  for (int k = 0; k < LANES; ++k) {
    if constexpr (NEURON == LIF) {
      z.v[k] = (z.v[k] * c.decay) * (1 - z.s[k]) + x[k];
    } else if constexpr (NEURON == CLIF) {
      z.i[k] = c.current_decay * z.i[k] + x[k];
      z.v[k] = (z.v[k] * c.decay) * (1 - z.s[k]) + z.i[k];
    } else {
      z.i[k] = c.current_decay * z.i[k] + x[k];
      const float a = z.v[k] * (1 - z.s[k]) + c.tr * z.s[k];
      const float b = z.u[k] + c.ts * z.s[k];
      z.v[k] = a + (a * a - a - b + z.i[k]);
      z.u[k] = b + (c.tv * a + c.tu * b);
    }
    z.s[k] = z.v[k] > c.threshold ? 1.0f : 0.0f;
  }
}

// e^x to about two units in the last place; a library's exp is not vectorised.
inline float exponential(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float n = std::nearbyintf(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

template <int SURROGATE>
inline float derivative(float distance, float scale) {
  if constexpr (SURROGATE == RECTANGULAR) {
    return std::fabs(distance) < scale ? 1.0f : 0.0f;
  } else if constexpr (SURROGATE == SIGMOID) {
    const float y = 1 / (1 + exponential(-scale * distance));
    return scale * y * (1 - y);
  } else if constexpr (SURROGATE == TANH) {
    const float y = 2 / (1 + exponential(-2 * scale * distance)) - 1;
    return 1 - y * y;
  } else {
    const float height = scale - std::fabs(distance);
    return (height > 0 ? height : 0.0f) / (scale * scale);
  }
}

// One time step backwards: v is the membrane of the step, g the gradient of its spikes; q comes
// from the step after and leaves for the step before.
template <int NEURON, int SURROGATE>
void step_back(Carried& __restrict q, const float* __restrict v, const float* __restrict g,
               float* __restrict dx, const Constants& c) {
  for (int k = 0; k < LANES; ++k) {
    const float s = v[k] > c.threshold ? 1.0f : 0.0f;
    float dv, ds;
    if constexpr (NEURON == DN) {
      const float a = v[k] * (1 - s) + c.tr * s;
      const float da = q.v[k] * (2 * a) + q.u[k] * c.tv;
      const float db = q.u[k] * (1 + c.tu) - q.v[k];
      dv = da * (1 - s);
      ds = da * (c.tr - v[k]) + db * c.ts;
      q.u[k] = db;
    } else {
      const float carried = q.v[k] * c.decay;
      dv = carried * (1 - s);
      ds = -carried * v[k];
    }
    const float upstream = g[k] + c.reset_gradient * ds;
    q.v[k] = upstream * derivative<SURROGATE>(v[k] - c.threshold, c.scale) + dv;
    if constexpr (NEURON == LIF) {
      dx[k] = q.v[k];
    } else {
      q.i[k] = q.v[k] + c.current_decay * q.i[k];
      dx[k] = q.i[k];
    }
  }
}

// y = (x - mean) / sd * gamma + beta of a block of features.
struct Affine {
  float mean[LANES], sd[LANES], gamma[LANES], beta[LANES];

  Affine(const float* mean_, const float* var_, const float* gamma_, const float* beta_, float eps,
         int n) {
    load(mean, mean_, n);
    load(sd, var_, n);
    load(gamma, gamma_, n);
    load(beta, beta_, n);
    for (int k = 0; k < LANES; ++k) sd[k] = std::sqrt(sd[k] + eps);
  }

  void apply(const float* x, float* y) const {
    for (int k = 0; k < LANES; ++k) y[k] = (x[k] - mean[k]) / sd[k] * gamma[k] + beta[k];
  }
};

struct Nothing {
  void apply(const float* x, float* y) const { std::memcpy(y, x, LANES * sizeof(float)); }
};

template <int NEURON, class Map>
void fire(const Constants& c, int T, int64_t stride, int n, const float* x, const Map& map,
          float* spikes) {
  State z = {};
  float currents[LANES];
  for (int t = 0; t < T; ++t) {
    load(currents, x + t * stride, n);
    map.apply(currents, currents);
    step<NEURON>(z, currents, c);
    store(spikes + t * stride, z.s, n);
  }
}

// Leaves the gradient of the mapped currents in dx.
template <int NEURON, int SURROGATE, class Map>
void fire_back(const Constants& c, int T, int64_t stride, int n, const float* x, const Map& map,
               const float* g, int64_t g_stride, float* dx, float* membranes) {
  State z = {};
  float lane[LANES], gradient[LANES];
  for (int t = 0; t < T; ++t) {
    load(lane, x + t * stride, n);
    map.apply(lane, lane);
    step<NEURON>(z, lane, c);
    std::memcpy(membranes + int64_t(t) * LANES, z.v, sizeof z.v);
  }
  Carried q = {};
  for (int t = T - 1; t >= 0; --t) {
    load(lane, g + t * g_stride, n);
    step_back<NEURON, SURROGATE>(q, membranes + int64_t(t) * LANES, lane, gradient, c);
    store(dx + t * stride, gradient, n);
  }
}

// Sum of f(row) over all rows, for a block of features: in single precision over few rows, then
// in double.
template <class F>
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

void statistics(int64_t rows, int64_t N, int n, const float* x, float* mean_, float* var_) {
  float mean[LANES], var[LANES];
  sum_rows(rows, mean, 1.0 / rows, [&](int64_t r, float* part) {
    float lane[LANES];
    load(lane, x + r * N, n);
    for (int k = 0; k < LANES; ++k) part[k] += lane[k];
  });
  sum_rows(rows, var, 1.0 / rows, [&](int64_t r, float* part) {
    float lane[LANES];
    load(lane, x + r * N, n);
    for (int k = 0; k < LANES; ++k) part[k] += (lane[k] - mean[k]) * (lane[k] - mean[k]);
  });
  store(mean_, mean, n);
  store(var_, var, n);
}

template <int NEURON>
void neuron_forward(const Constants& c, int T, int64_t M, const float* x, float* spikes) {
  for (int64_t m = 0; m < M; m += LANES)
    fire<NEURON>(c, T, M, lanes(m, M), x + m, Nothing(), spikes + m);
}

template <int NEURON, int SURROGATE>
void neuron_backward(const Constants& c, int T, int64_t M, const float* x, const float* g,
                     int64_t g_stride, float* dx) {
  const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
  for (int64_t m = 0; m < M; m += LANES)
    fire_back<NEURON, SURROGATE>(c, T, M, lanes(m, M), x + m, Nothing(), g + m, g_stride, dx + m,
                                 membranes.get());
}

template <int NEURON>
void normalised_forward(const Constants& c, int T, int64_t B, int64_t N, bool of_batch,
                        const float* x, float* mean, float* var, const float* gamma,
                        const float* beta, float eps, float* spikes) {
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes(m, N);
    if (of_batch) statistics(T * B, N, n, x + m, mean + m, var + m);
    const Affine map(mean + m, var + m, gamma + m, beta + m, eps, n);
    for (int64_t b = 0; b < B; ++b)
      fire<NEURON>(c, T, B * N, n, x + b * N + m, map, spikes + b * N + m);
  }
}

// With dy the gradient of the normalised currents and z = (x - mean) / sd, over R rows:
// dbeta = sum dy, dgamma = sum dy z, and dx = gamma / sd (dy - dbeta / R - z dgamma / R); the last
// two terms are there only where the statistics are the batch's.
template <int NEURON, int SURROGATE>
void normalised_backward(const Constants& c, int T, int64_t B, int64_t N, bool of_batch,
                         const float* x, const float* mean, const float* var, const float* gamma,
                         const float* beta, float eps, const float* g, int64_t g_stride, float* dx,
                         float* dgamma, float* dbeta) {
  const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
  const int64_t R = T * B;
  for (int64_t m = 0; m < N; m += LANES) {
    const int n = lanes(m, N);
    const Affine map(mean + m, var + m, gamma + m, beta + m, eps, n);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t at = b * N + m;
      fire_back<NEURON, SURROGATE>(c, T, B * N, n, x + at, map, g + at, g_stride, dx + at,
                                   membranes.get());
    }
    float sum[LANES], product[LANES];
    sum_rows(R, sum, 1, [&](int64_t r, float* part) {
      float dy[LANES];
      load(dy, dx + r * N + m, n);
      for (int k = 0; k < LANES; ++k) part[k] += dy[k];
    });
    sum_rows(R, product, 1, [&](int64_t r, float* part) {
      float dy[LANES], z[LANES];
      load(dy, dx + r * N + m, n);
      load(z, x + r * N + m, n);
      for (int k = 0; k < LANES; ++k) part[k] += dy[k] * ((z[k] - map.mean[k]) / map.sd[k]);
    });
    store(dbeta + m, sum, n);
    store(dgamma + m, product, n);
    float factor[LANES], shift[LANES], slope[LANES];
    for (int k = 0; k < LANES; ++k) {
      factor[k] = map.gamma[k] / map.sd[k];
      shift[k] = of_batch ? sum[k] / R : 0;
      slope[k] = of_batch ? product[k] / R / map.sd[k] : 0;
    }
    for (int64_t r = 0; r < R; ++r) {
      float dy[LANES], z[LANES];
      load(dy, dx + r * N + m, n);
      load(z, x + r * N + m, n);
      for (int k = 0; k < LANES; ++k)
        dy[k] = factor[k] * (dy[k] - shift[k] - (z[k] - map.mean[k]) * slope[k]);
      store(dx + r * N + m, dy, n);
    }
  }
}

template <class F>
void choose(int neuron, F f) {
  if (neuron == LIF) f.template operator()<LIF>();
  if (neuron == CLIF) f.template operator()<CLIF>();
  if (neuron == DN) f.template operator()<DN>();
}

template <class F>
void choose(int neuron, int surrogate, F f) {
  choose(neuron, [&]<int NEURON>() {
    if (surrogate == RECTANGULAR) f.template operator()<NEURON, RECTANGULAR>();
    if (surrogate == SIGMOID) f.template operator()<NEURON, SIGMOID>();
    if (surrogate == TANH) f.template operator()<NEURON, TANH>();
    if (surrogate == TRIANGLE) f.template operator()<NEURON, TRIANGLE>();
  });
}

// COLUMNS floats beside each other, as vectors that a compiler keeps in registers.
typedef float Vector __attribute__((vector_size(64)));

struct Block {
  Vector low, high;

  explicit Block(const float* from) {
    std::memcpy(&low, from, sizeof low);
    std::memcpy(&high, from + COLUMNS / 2, sizeof high);
  }

  void add(const Block& other) {
    low += other.low;
    high += other.high;
  }

  void put(float* to) const {
    std::memcpy(to, &low, sizeof low);
    std::memcpy(to + COLUMNS / 2, &high, sizeof high);
  }
};

static_assert(2 * sizeof(Vector) == COLUMNS * sizeof(float));

// start + the blocks of rows at `count` indices.
template <class Index>
inline Block gather(const float* start, const float* rows, const Index* at, int count) {
  static const float nothing[COLUMNS] = {};
  Block even(start), odd(nothing);
  int e = 0;
  for (; e + 1 < count; e += 2) {
    even.add(Block(rows + at[e] * COLUMNS));
    odd.add(Block(rows + at[e + 1] * COLUMNS));
  }
  if (e < count) even.add(Block(rows + at[e] * COLUMNS));
  even.add(odd);
  return even;
}

}  // namespace

extern "C" {

void snn_neuron_forward(int neuron, const Constants* c, int T, int64_t M, const float* x,
                        float* spikes) {
  choose(neuron, [&]<int NEURON>() { neuron_forward<NEURON>(*c, T, M, x, spikes); });
}

void snn_neuron_backward(int neuron, int surrogate, const Constants* c, int T, int64_t M,
                         const float* x, const float* g, int64_t g_stride, float* dx) {
  choose(neuron, surrogate, [&]<int NEURON, int SURROGATE>() {
    neuron_backward<NEURON, SURROGATE>(*c, T, M, x, g, g_stride, dx);
  });
}

void snn_normalised_forward(int neuron, const Constants* c, int T, int64_t B, int64_t N,
                            int of_batch, const float* x, float* mean, float* var,
                            const float* gamma, const float* beta, float eps, float* spikes) {
  choose(neuron, [&]<int NEURON>() {
    normalised_forward<NEURON>(*c, T, B, N, of_batch, x, mean, var, gamma, beta, eps, spikes);
  });
}

void snn_normalised_backward(int neuron, int surrogate, const Constants* c, int T, int64_t B,
                             int64_t N, int of_batch, const float* x, const float* mean,
                             const float* var, const float* gamma, const float* beta, float eps,
                             const float* g, int64_t g_stride, float* dx, float* dgamma,
                             float* dbeta) {
  choose(neuron, surrogate, [&]<int NEURON, int SURROGATE>() {
    normalised_backward<NEURON, SURROGATE>(*c, T, B, N, of_batch, x, mean, var, gamma, beta, eps, g,
                                           g_stride, dx, dgamma, dbeta);
  });
}

void snn_encode(int T, int64_t M, float threshold, const float* drive, float* spikes) {
  for (int64_t m = 0; m < M; m += LANES) {
    const int n = lanes(m, M);
    float potential[LANES] = {}, a[LANES], s[LANES];
    load(a, drive + m, n);
    for (int t = 0; t < T; ++t) {
      for (int k = 0; k < LANES; ++k) {
        potential[k] = potential[k] + a[k];
        s[k] = potential[k] > threshold ? 1.0f : 0.0f;
        potential[k] = potential[k] - threshold * s[k];
      }
      store(spikes + t * M + m, s, n);
    }
  }
}

// Where the rows of spikes [R, K] are not zero: for each row its first `count` indices. There is
// room for 16 more than R * K, because vectors are stored whole.
void snn_events(int64_t R, int K, const float* spikes, int32_t* indices, int32_t* counts) {
  for (int64_t r = 0; r < R; ++r) {
    const float* row = spikes + r * K;
    int32_t* to = indices + r * K;
    int n = 0, k = 0;
#ifdef __AVX512F__
    const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (; k + 16 <= K; k += 16) {
      const __mmask16 spiked =
          _mm512_cmp_ps_mask(_mm512_loadu_ps(row + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
      const __m512i found = _mm512_add_epi32(_mm512_set1_epi32(k), places);
      _mm512_storeu_si512(to + n, _mm512_maskz_compress_epi32(spiked, found));
      n += __builtin_popcount(spiked);
    }
#endif
    for (; k < K; ++k) {
      to[n] = k;
      n += row[k] != 0;
    }
    counts[r] = n;
  }
}

// y [R, N] = spikes [R, K] weight [N, K]^T + bias: the rows of weight^T at the events, added up.
// scratch holds K * COLUMNS floats.
void snn_event_product(int64_t R, int K, int N, const int32_t* indices, const int32_t* counts,
                       const float* weight, const float* bias, float* y, float* scratch) {
  for (int column = 0; column < N; column += COLUMNS) {
    const int n = N - column < COLUMNS ? N - column : COLUMNS;
    float start[COLUMNS] = {};
    if (bias) std::memcpy(start, bias + column, n * sizeof(float));
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < COLUMNS; ++j)
        scratch[k * COLUMNS + j] = j < n ? weight[int64_t(column + j) * K + k] : 0;
    for (int64_t r = 0; r < R; ++r) {
      float sum[COLUMNS];
      gather(start, scratch, indices + r * K, counts[r]).put(sum);
      std::memcpy(y + r * N + column, sum, n * sizeof(float));
    }
  }
}

// dweight [N, K] = g [R, N]^T spikes [R, K]: the rows of g at the events of each input, added up.
void snn_event_gradient(int64_t R, int K, int N, const int32_t* indices, const int32_t* counts,
                        const float* g, float* dweight) {
  const int64_t blocks = (R + ROWS - 1) / ROWS;
  // Events again, by input instead of by row.
  const std::unique_ptr<uint8_t[]> rows(new uint8_t[blocks * K * ROWS]);
  const std::unique_ptr<int32_t[]> sizes(new int32_t[blocks * K]());
  for (int64_t r = 0; r < R; ++r) {
    const int64_t part = r / ROWS;
    for (int e = 0; e < counts[r]; ++e) {
      const int64_t list = part * K + indices[r * K + e];
      rows[list * ROWS + sizes[list]++] = uint8_t(r % ROWS);
    }
  }
  const std::unique_ptr<float[]> sums(new float[int64_t(K) * COLUMNS]);
  const std::unique_ptr<float[]> near(new float[ROWS * COLUMNS]);
  for (int column = 0; column < N; column += COLUMNS) {
    const int n = N - column < COLUMNS ? N - column : COLUMNS;
    std::memset(sums.get(), 0, int64_t(K) * COLUMNS * sizeof(float));
    std::memset(near.get(), 0, ROWS * COLUMNS * sizeof(float));
    for (int64_t part = 0; part < blocks; ++part) {
      const int64_t first = part * ROWS;
      const int64_t last = first + ROWS < R ? first + ROWS : R;
      for (int64_t r = first; r < last; ++r)
        std::memcpy(near.get() + (r - first) * COLUMNS, g + r * N + column, n * sizeof(float));
      for (int k = 0; k < K; ++k) {
        const int64_t list = part * K + k;
        float* sum = sums.get() + k * COLUMNS;
        gather(sum, near.get(), rows.get() + list * ROWS, sizes[list]).put(sum);
      }
    }
    for (int j = 0; j < n; ++j)
      for (int k = 0; k < K; ++k) dweight[int64_t(column + j) * K + k] = sums[k * COLUMNS + j];
  }
}
}
