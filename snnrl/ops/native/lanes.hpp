// LANES numbers beside each other: a whole row of features where it fits, because memory that is
// read in its order is fetched ahead.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

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

}  // namespace
