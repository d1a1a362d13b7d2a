// Spikes as lists of places, and products with them that only add the rows of weights at these.

#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "threads.hpp"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int COLUMNS = 32;  // outputs in one block of a product with events
constexpr int ROWS = 128;    // rows in one block

// Where the rows of a matrix of spikes [R, K] are not zero: counts[r] indices from starts[r] on. There
// is room for R * (K + PADDING) indices.
struct Events {
  uint16_t* indices;
  int32_t* starts;
  int32_t* counts;
};

constexpr int PADDING = 16;  // because vectors are stored whole

#if defined(__AVX2__) && !defined(__AVX512F__)
// Of each byte, the places of its ones.
struct Places {
  uint16_t of[256][8];

  constexpr Places() : of() {
    for (int byte = 0; byte < 256; ++byte)
      for (int place = 0, n = 0; place < 8; ++place)
        if (byte >> place & 1) of[byte][n++] = uint16_t(place);
  }
};

constexpr Places places;
#endif

// Appends the events of one row; there must be room for PADDING more.
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
#elif defined(__AVX2__)
  for (; k + 8 <= K; k += 8) {
    const int spiked = _mm256_movemask_ps(
        _mm256_cmp_ps(_mm256_loadu_ps(row + k), _mm256_setzero_ps(), _CMP_NEQ_UQ));
    const __m128i found = _mm_loadu_si128(reinterpret_cast<const __m128i*>(places.of[spiked]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + n),
                     _mm_add_epi16(found, _mm_set1_epi16(short(k))));
    n += __builtin_popcount(spiked);
  }
#endif
  for (; k < K; ++k) {
    to[n] = uint16_t(k);
    n += row[k] != 0;
  }
  return n;
}

// Takes rows of spikes in any order. It fills the room of these rows from its start on, so that
// several can work beside each other.
struct Emitter {
  const Events* events;
  int64_t used;

  // `before`: rows of the emitters before this one.
  Emitter(const Events* events, int64_t before, int K)
      : events(events), used(before * (K + PADDING)) {}

  void take(int64_t r, const float* row, int K) {
    events->starts[r] = int32_t(used);
    events->counts[r] = emit(row, K, events->indices + used);
    used += events->counts[r];
  }
};

// A vector of the machine's width: wider ones would not be kept in registers.
#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif
typedef float Vector __attribute__((vector_size(WIDTH * sizeof(float))));
typedef Vector Anywhere __attribute__((aligned(alignof(float)), may_alias));

// COLUMNS floats beside each other. A recursion, as an array would not be kept in registers.
template <int FLOATS>
struct Floats {
  Vector first;
  [[no_unique_address]] Floats<FLOATS - WIDTH> others;

  explicit Floats(const float* from)
      : first(*reinterpret_cast<const Anywhere*>(from)), others(from + WIDTH) {}

  void add(const Floats& other) {
    first += other.first;
    others.add(other.others);
  }

  void add_product(const Floats& left, const Floats& right) {
    first += left.first * right.first;
    others.add_product(left.others, right.others);
  }

  void put(float* to) const {
    *reinterpret_cast<Anywhere*>(to) = first;
    others.put(to + WIDTH);
  }
};

template <>
struct Floats<0> {
  explicit Floats(const float*) {}
  void add(const Floats&) {}
  void add_product(const Floats&, const Floats&) {}
  void put(float*) const {}
};

using Block = Floats<COLUMNS>;

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

// weight [N, K] as blocks of COLUMNS outputs, each [K, COLUMNS]; the last one is filled with zeros.
inline void pack(int K, int N, const float* weight, float* packed) {
  share(blocks_of(N, COLUMNS), [&](int64_t block) {
    const int column = int(block) * COLUMNS;
    float* to = packed + block * K * COLUMNS;
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < COLUMNS; ++j)
        to[k * COLUMNS + j] = column + j < N ? weight[int64_t(column + j) * K + k] : 0;
  });
}

// Rows `first` to `last` of y [R, N] = spikes [R, K] weight^T + bias, with the weights packed: the
// rows of weight^T at the events, added up. Inlined, its sums are no longer kept in registers.
[[gnu::noinline]] inline void event_product(int64_t first, int64_t last, int K, int N,
                                            const Events& events, const float* packed,
                                            const float* bias, float* y) {
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
inline int64_t packed_size(int K, int N) {
  return int64_t(K) * ((N + COLUMNS - 1) / COLUMNS) * COLUMNS;
}

// dweight [N, K] = g [R, N]^T spikes [R, K]: the rows of g at the events of each input, added up.
inline void event_gradient(int64_t R, int K, int N, const Events& events, const float* g,
                           float* dweight) {
  const int64_t blocks = blocks_of(R, ROWS);
  // Events again, by input instead of by row.
  const std::unique_ptr<uint8_t[]> rows(new uint8_t[blocks * K * ROWS]);
  const std::unique_ptr<int32_t[]> sizes(new int32_t[blocks * K]());
  share(blocks, [&](int64_t part) {
    for (int64_t r = part * ROWS; r < end_of(part * ROWS, ROWS, R); ++r) {
      const uint16_t* at = events.indices + events.starts[r];
      for (int e = 0; e < events.counts[r]; ++e) {
        const int64_t list = part * K + at[e];
        rows[list * ROWS + sizes[list]++] = uint8_t(r % ROWS);
      }
    }
  });
  share(blocks_of(N, COLUMNS), [&](int64_t block) {
    const int column = int(block) * COLUMNS;
    const int n = N - column < COLUMNS ? N - column : COLUMNS;
    const std::unique_ptr<float[]> sums(new float[int64_t(K) * COLUMNS]());
    const std::unique_ptr<float[]> near(new float[ROWS * COLUMNS]());
    for (int64_t part = 0; part < blocks; ++part) {
      const int64_t first = part * ROWS, last = end_of(first, ROWS, R);
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
  });
}

}  // namespace
