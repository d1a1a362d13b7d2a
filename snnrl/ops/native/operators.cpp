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
#include <new>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int COLUMNS = 32;   // outputs in one block of a product with events
constexpr int ROWS = 128;     // rows in one block of a gradient of weights
constexpr int SUM_ROWS = 32;  // rows that are summed in single precision

enum Neuron { LIF, CLIF, DN };
enum Surrogate { RECTANGULAR, SIGMOID, TANH, TRIANGLE };

struct Constants {
  float threshold, decay, current_decay, tv, tu, tr, ts, scale, reset_gradient;
};

// LANES neurons are computed side by side: a whole row of features where it fits, because memory
// that is read in its order is fetched ahead.
template <int LANES>
struct State {
  float v[LANES], s[LANES], i[LANES], u[LANES];
};

// Gradients of what one time step hands to the next.
template <int LANES>
struct Carried {
  float v[LANES], i[LANES], u[LANES];
};

template <int LANES>
void load(float* to, const float* from, int n) {
  if (n == LANES) {
    std::memcpy(to, from, LANES * sizeof(float));
  } else {
    std::memset(to, 0, LANES * sizeof(float));
    std::memcpy(to, from, n * sizeof(float));
  }
}

template <int LANES>
void store(float* to, const float* from, int n) {
  if (n == LANES) {
    std::memcpy(to, from, LANES * sizeof(float));
  } else {
    std::memcpy(to, from, n * sizeof(float));
  }
}

template <int LANES>
int lanes(int64_t first, int64_t all) {
  return all - first < LANES ? int(all - first) : LANES;
}

template <int NEURON, int LANES>
void step(State<LANES>& z, const float* x, const Constants& c) {
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
template <int NEURON, int SURROGATE, int LANES>
void step_back(Carried<LANES>& __restrict q, const float* __restrict v, const float* __restrict g,
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

template <int LANES>
struct Nothing {
  void apply(const float* x, float* y) const { std::memcpy(y, x, LANES * sizeof(float)); }
};

template <int NEURON, int LANES, class Map>
void fire(const Constants& c, int T, int64_t stride, int n, const float* x, const Map& map,
          float* spikes, int64_t spikes_stride) {
  State<LANES> z = {};
  float currents[LANES];
  for (int t = 0; t < T; ++t) {
    load<LANES>(currents, x + t * stride, n);
    map.apply(currents, currents);
    step<NEURON, LANES>(z, currents, c);
    store<LANES>(spikes + t * spikes_stride, z.s, n);
  }
}

// Leaves the gradient of the mapped currents in dx, and shows each time step of it to take.
template <int NEURON, int SURROGATE, int LANES, class Map, class F>
void fire_back(const Constants& c, int T, int64_t stride, int n, const float* x, const Map& map,
               const float* g, int64_t g_stride, float* dx, float* membranes, F take) {
  State<LANES> z = {};
  float lane[LANES], gradient[LANES];
  for (int t = 0; t < T; ++t) {
    load<LANES>(lane, x + t * stride, n);
    map.apply(lane, lane);
    step<NEURON, LANES>(z, lane, c);
    std::memcpy(membranes + int64_t(t) * LANES, z.v, sizeof z.v);
  }
  Carried<LANES> q = {};
  for (int t = T - 1; t >= 0; --t) {
    load<LANES>(lane, g + t * g_stride, n);
    step_back<NEURON, SURROGATE, LANES>(q, membranes + int64_t(t) * LANES, lane, gradient, c);
    store<LANES>(dx + t * stride, gradient, n);
    take(t, gradient);
  }
}

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

template <int NEURON, int LANES>
void neuron_forward(const Constants& c, int T, int64_t M, const float* x, float* spikes) {
  for (int64_t m = 0; m < M; m += LANES)
    fire<NEURON, LANES>(c, T, M, lanes<LANES>(m, M), x + m, Nothing<LANES>(), spikes + m, M);
}

template <int NEURON, int SURROGATE, int LANES>
void neuron_backward(const Constants& c, int T, int64_t M, const float* x, const float* g,
                     int64_t g_stride, float* dx) {
  const std::unique_ptr<float[]> membranes(new float[int64_t(T) * LANES]);
  for (int64_t m = 0; m < M; m += LANES)
    fire_back<NEURON, SURROGATE, LANES>(c, T, M, lanes<LANES>(m, M), x + m, Nothing<LANES>(), g + m,
                                        g_stride, dx + m, membranes.get(), [](int, float*) {});
}

// Where the rows of a matrix of spikes are not zero: counts[r] indices from starts[r] on.
struct Events {
  uint16_t* indices;
  int32_t* starts;
  int32_t* counts;
};

// Appends the events of one row; there must be room for 16 more, because vectors are stored whole.
inline int emit(const float* row, int K, uint16_t* to) {
  int n = 0, k = 0;
#ifdef __AVX512F__
  const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (; k + 16 <= K; k += 16) {
    const __mmask16 spiked =
        _mm512_cmp_ps_mask(_mm512_loadu_ps(row + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const __m512i found = _mm512_add_epi32(_mm512_set1_epi32(k), places);
    const __m512i packed = _mm512_maskz_compress_epi32(spiked, found);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + n), _mm512_cvtepi32_epi16(packed));
    n += __builtin_popcount(spiked);
  }
#endif
  for (; k < K; ++k) {
    to[n] = uint16_t(k);
    n += row[k] != 0;
  }
  return n;
}

// Takes rows of spikes in any order.
struct Emitter {
  const Events* events;
  int64_t used = 0;

  void take(int64_t r, const float* row, int K) {
    events->starts[r] = int32_t(used);
    events->counts[r] = emit(row, K, events->indices + used);
    used += events->counts[r];
  }
};

// Writes what is not null: spikes [T, B, N], their events by row of [T * B, N], totals [B, N].
template <int NEURON, int LANES>
void normalised_forward(const Constants& c, int T, int64_t B, int64_t N, bool of_batch,
                        const float* x, float* mean, float* var, const float* gamma,
                        const float* beta, float eps, float* spikes, const Events* events,
                        float* totals) {
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
      fire<NEURON, LANES>(c, T, B * N, lanes<LANES>(m, N), x + b * N + m, maps[m / LANES], to + m,
                          stride);
    for (int t = 0; t < T && events; ++t) emitter.take(t * B + b, to + t * stride, int(N));
    for (int64_t n = 0; n < N && totals; ++n) {
      float total = 0;
      for (int t = 0; t < T; ++t) total += to[t * stride + n];
      totals[b * N + n] = total;
    }
  }
}

// With dy the gradient of the normalised currents and z = (x - mean) / sd, over R rows:
// dbeta = sum dy, dgamma = sum dy z, and dx = gamma / sd (dy - dbeta / R - z dgamma / R); the last
// two terms are there only where the statistics are the batch's.
template <int NEURON, int SURROGATE, int LANES>
void normalised_backward(const Constants& c, int T, int64_t B, int64_t N, bool of_batch,
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
      fire_back<NEURON, SURROGATE, LANES>(
          c, T, B * N, n, x + at, map, g + at, g_stride, dx + at, membranes.get(),
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

// Calls f with the neuron and the number of lanes for rows of so many features.
template <class F>
void choose(int neuron, int64_t features, F f) {
  const auto with_neuron = [&]<int LANES>() {
    if (neuron == LIF) f.template operator()<LIF, LANES>();
    if (neuron == CLIF) f.template operator()<CLIF, LANES>();
    if (neuron == DN) f.template operator()<DN, LANES>();
  };
  if (features <= 64) {
    with_neuron.template operator()<64>();
  } else {
    with_neuron.template operator()<256>();
  }
}

template <class F>
void choose(int neuron, int surrogate, int64_t features, F f) {
  choose(neuron, features, [&]<int NEURON, int LANES>() {
    if (surrogate == RECTANGULAR) f.template operator()<NEURON, RECTANGULAR, LANES>();
    if (surrogate == SIGMOID) f.template operator()<NEURON, SIGMOID, LANES>();
    if (surrogate == TANH) f.template operator()<NEURON, TANH, LANES>();
    if (surrogate == TRIANGLE) f.template operator()<NEURON, TRIANGLE, LANES>();
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

const float nothing[COLUMNS] = {};

// start + the blocks of rows at `count` indices.
template <class Index>
inline Block gather(const float* start, const float* rows, const Index* at, int count) {
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

void encode_step(int M, float threshold, const float* __restrict a, float* __restrict p,
                 float* __restrict s) {
  for (int k = 0; k < M; ++k) {
    p[k] = p[k] + a[k];
    s[k] = p[k] > threshold ? 1.0f : 0.0f;
    p[k] = p[k] - threshold * s[k];
  }
}

// weight [N, K] as blocks of COLUMNS outputs, each [K, COLUMNS]; the last one is filled with zeros.
void pack(int K, int N, const float* weight, float* packed) {
  for (int column = 0; column < N; column += COLUMNS, packed += int64_t(K) * COLUMNS)
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < COLUMNS; ++j)
        packed[k * COLUMNS + j] = column + j < N ? weight[int64_t(column + j) * K + k] : 0;
}

typedef float Half __attribute__((vector_size(32)));
typedef float Quarter __attribute__((vector_size(16)));

// Sum of all floats, in registers.
inline float total(const Block& block) {
  const Vector sum = block.low + block.high;
  Half halves[2];
  std::memcpy(halves, &sum, sizeof sum);
  const Half half = halves[0] + halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof half);
  const Quarter quarter = quarters[0] + quarters[1];
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// Sum of a[k] b[k].
inline float dot(int K, const float* a, const float* b) {
  Block sum(nothing);
  int k = 0;
  for (; k + COLUMNS <= K; k += COLUMNS) {
    const Block left(a + k), right(b + k);
    sum.low += left.low * right.low;
    sum.high += left.high * right.high;
  }
  float rest = 0;
  for (; k < K; ++k) rest += a[k] * b[k];
  return total(sum) + rest;
}

// y [R, N] = rows [R, K] weight [N, K]^T + bias, for few rows: each weight is read once.
void dense_product(int R, int K, int N, const float* rows, const float* weight, const float* bias,
                   float* y) {
  for (int n = 0; n < N; ++n)
    for (int r = 0; r < R; ++r)
      y[r * N + n] = dot(K, rows + r * K, weight + int64_t(n) * K) + (bias ? bias[n] : 0);
}

// Rows `first` to `last` of y [R, N] = spikes [R, K] weight^T + bias, with the weights packed: the
// rows of weight^T at the events, added up.
void event_product(int64_t first, int64_t last, int K, int N, const Events& events,
                   const float* packed, const float* bias, float* y) {
  for (int column = 0; column < N; column += COLUMNS, packed += int64_t(K) * COLUMNS) {
    const int n = N - column < COLUMNS ? N - column : COLUMNS;
    float start[COLUMNS] = {};
    if (bias) std::memcpy(start, bias + column, n * sizeof(float));
    for (int64_t r = first; r < last; ++r) {
      const Block sum =
          gather(start, packed, events.indices + events.starts[r], events.counts[r]);
      if (n == COLUMNS) {
        sum.put(y + r * N + column);
      } else {
        float rest[COLUMNS];
        sum.put(rest);
        std::memcpy(y + r * N + column, rest, n * sizeof(float));
      }
    }
  }
}

// Floats of a packed matrix [N, K].
int64_t packed_size(int K, int N) {
  return int64_t(K) * ((N + COLUMNS - 1) / COLUMNS) * COLUMNS;
}

// A layer that only infers; its normalisation is absent where mean is null.
struct Layer {
  int neuron;
  const Constants* constants;
  int inputs, outputs;
  const float *weight, *bias, *mean, *var, *gamma, *beta;
  float eps;
};

// Currents of a few samples -> spikes of rows t * samples + b; the currents of a step are `stride`
// behind those of the step before.
template <int NEURON, int LANES>
void infer(const Layer& layer, int T, int samples, const float* x, int64_t stride, float* spikes) {
  const int N = layer.outputs;
  for (int m = 0; m < N; m += LANES) {
    const int n = lanes<LANES>(m, N);
    for (int b = 0; b < samples; ++b) {
      const float* from = x + b * N + m;
      float* to = spikes + b * N + m;
      if (layer.mean) {
        const Affine<LANES> map(layer.mean + m, layer.var + m, layer.gamma + m, layer.beta + m,
                                layer.eps, n);
        fire<NEURON, LANES>(*layer.constants, T, stride, n, from, map, to, samples * N);
      } else {
        fire<NEURON, LANES>(*layer.constants, T, stride, n, from, Nothing<LANES>(), to,
                            samples * N);
      }
    }
  }
}

// What leaves the C++ side: 0, or 1 where there was no memory.
template <class F>
int guarded(F f) {
  try {
    f();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

extern "C" {

int snn_neuron_forward(int neuron, const Constants* c, int T, int64_t M, const float* x,
                       float* spikes) {
  return guarded([&] {
    choose(neuron, M, [&]<int NEURON, int LANES>() {
      neuron_forward<NEURON, LANES>(*c, T, M, x, spikes);
    });
  });
}

int snn_neuron_backward(int neuron, int surrogate, const Constants* c, int T, int64_t M,
                        const float* x, const float* g, int64_t g_stride, float* dx) {
  return guarded([&] {
    choose(neuron, surrogate, M, [&]<int NEURON, int SURROGATE, int LANES>() {
      neuron_backward<NEURON, SURROGATE, LANES>(*c, T, M, x, g, g_stride, dx);
    });
  });
}

int snn_normalised_forward(int neuron, const Constants* c, int T, int64_t B, int64_t N,
                           int of_batch, const float* x, float* mean, float* var,
                           const float* gamma, const float* beta, float eps, float* spikes,
                           const Events* events, float* totals) {
  return guarded([&] {
    choose(neuron, N, [&]<int NEURON, int LANES>() {
      normalised_forward<NEURON, LANES>(*c, T, B, N, of_batch, x, mean, var, gamma, beta, eps,
                                        spikes, events, totals);
    });
  });
}

int snn_normalised_backward(int neuron, int surrogate, const Constants* c, int T, int64_t B,
                            int64_t N, int of_batch, const float* x, const float* mean,
                            const float* var, const float* gamma, const float* beta, float eps,
                            const float* g, int64_t g_stride, float* dx, float* dgamma,
                            float* dbeta) {
  return guarded([&] {
    choose(neuron, surrogate, N, [&]<int NEURON, int SURROGATE, int LANES>() {
      normalised_backward<NEURON, SURROGATE, LANES>(*c, T, B, N, of_batch, x, mean, var, gamma,
                                                    beta, eps, g, g_stride, dx, dgamma, dbeta);
    });
  });
}

// Events of the spikes of a drive [B, M], by row of [T * B, M].
int snn_encode(int T, int64_t B, int M, float threshold, const float* drive,
               const Events* events) {
  return guarded([&] {
    const std::unique_ptr<float[]> potential(new float[M]), row(new float[M]);
    Emitter emitter{events};
    for (int64_t b = 0; b < B; ++b) {
      std::memset(potential.get(), 0, M * sizeof(float));
      for (int t = 0; t < T; ++t) {
        encode_step(M, threshold, drive + b * M, potential.get(), row.get());
        emitter.take(t * B + b, row.get(), M);
      }
    }
  });
}

int snn_events(int64_t R, int K, const float* spikes, const Events* events) {
  return guarded([&] {
    Emitter emitter{events};
    for (int64_t r = 0; r < R; ++r) emitter.take(r, spikes + r * K, K);
  });
}

// y [R, N] = spikes [R, K] weight [N, K]^T + bias; scratch holds the packed weights. Rows go in
// blocks, so that a block of y is written while it is in the cache.
int snn_event_product(int64_t R, int K, int N, const Events* events, const float* weight,
                      const float* bias, float* y, float* scratch) {
  return guarded([&] {
    pack(K, N, weight, scratch);
    for (int64_t first = 0; first < R; first += ROWS)
      event_product(first, first + ROWS < R ? first + ROWS : R, K, N, *events, scratch, bias, y);
  });
}

// dweight [N, K] = g [R, N]^T spikes [R, K]: the rows of g at the events of each input, added up.
int snn_event_gradient(int64_t R, int K, int N, const Events* events, const float* g,
                       float* dweight) {
  return guarded([&] {
    const int64_t blocks = (R + ROWS - 1) / ROWS;
    // Events again, by input instead of by row.
    const std::unique_ptr<uint8_t[]> rows(new uint8_t[blocks * K * ROWS]);
    const std::unique_ptr<int32_t[]> sizes(new int32_t[blocks * K]());
    for (int64_t r = 0; r < R; ++r) {
      const int64_t part = r / ROWS;
      const uint16_t* at = events->indices + events->starts[r];
      for (int e = 0; e < events->counts[r]; ++e) {
        const int64_t list = part * K + at[e];
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
        // The next rows lie far apart; the processor does not foresee them by itself.
        for (int64_t r = last; r < last + ROWS && r < R; ++r) {
          __builtin_prefetch(g + r * N + column);
          __builtin_prefetch(g + r * N + column + COLUMNS / 2);
        }
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
  });
}

// A whole network that infers: drive or currents [B, M] -> spikes of its last layer over time
// [B, N]. A few samples pass through all layers before the next ones, so that nothing between the
// layers leaves the cache. With encodes = 0 the first layer sees the same input in every step.
int snn_infer(int T, int64_t B, int M, int encodes, float threshold, const float* drive,
              int layers, const Layer* layer, float* totals) {
  return guarded([&] {
    constexpr int SAMPLES = 16;      // that pass together
    constexpr int FEWEST_ROWS = 16;  // from which packing the weights pays
    const bool packs = T * B >= FEWEST_ROWS;
    int widest = M;
    int64_t weights = 0;
    for (int l = 0; l < layers; ++l) {
      weights += packed_size(layer[l].inputs, layer[l].outputs);
      widest = layer[l].outputs > widest ? layer[l].outputs : widest;
    }
    const int rows = T * (B < SAMPLES ? int(B) : SAMPLES);
    const std::unique_ptr<float[]> packed(new float[packs ? weights : 0]), potential(new float[M]);
    const std::unique_ptr<float[]> spikes(new float[int64_t(rows) * widest]);
    const std::unique_ptr<float[]> currents(new float[int64_t(rows) * widest]);
    const std::unique_ptr<uint16_t[]> indices(new uint16_t[int64_t(rows) * widest + 16]);
    const std::unique_ptr<int32_t[]> starts(new int32_t[rows]), counts(new int32_t[rows]);
    const Events events{indices.get(), starts.get(), counts.get()};
    float* to = packed.get();
    for (int l = 0; l < layers && packs; ++l) {
      pack(layer[l].inputs, layer[l].outputs, layer[l].weight, to);
      to += packed_size(layer[l].inputs, layer[l].outputs);
    }
    for (int64_t first = 0; first < B; first += SAMPLES) {
      const int samples = B - first < SAMPLES ? int(B - first) : SAMPLES;
      for (int b = 0; b < samples && encodes; ++b) {
        std::memset(potential.get(), 0, M * sizeof(float));
        for (int t = 0; t < T; ++t)
          encode_step(M, threshold, drive + (first + b) * M, potential.get(),
                      spikes.get() + int64_t(t * samples + b) * M);
      }
      const float* from = packed.get();
      for (int l = 0; l < layers; ++l) {
        const int K = layer[l].inputs, N = layer[l].outputs, R = T * samples;
        const bool same = l == 0 && !encodes;
        if (same) {
          dense_product(samples, K, N, drive + first * M, layer[l].weight, layer[l].bias,
                        currents.get());
        } else if (!packs) {
          dense_product(R, K, N, spikes.get(), layer[l].weight, layer[l].bias, currents.get());
        } else {
          Emitter emitter{&events};
          for (int r = 0; r < R; ++r) emitter.take(r, spikes.get() + int64_t(r) * K, K);
          event_product(0, R, K, N, events, from, layer[l].bias, currents.get());
        }
        if (packs) from += packed_size(K, N);
        choose(layer[l].neuron, N, [&]<int NEURON, int LANES>() {
          infer<NEURON, LANES>(layer[l], T, samples, currents.get(), same ? 0 : samples * N,
                               spikes.get());
        });
      }
      const int N = layer[layers - 1].outputs;
      for (int b = 0; b < samples; ++b)
        for (int n = 0; n < N; ++n) {
          float total = 0;
          for (int t = 0; t < T; ++t) total += spikes[int64_t(t * samples + b) * N + n];
          totals[(first + b) * N + n] = total;
        }
    }
  });
}
}
