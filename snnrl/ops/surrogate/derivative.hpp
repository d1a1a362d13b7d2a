// Derivatives that stand for that of the step function, at `distance` = v - threshold; the formulas
// stand in naive.py, under the same names.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace surrogate {

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

struct rectangular {
  static float derivative(float distance, float width) {
    return std::fabs(distance) < width ? 1.0f : 0.0f;
  }
};

struct sigmoid {
  static float derivative(float distance, float slope) {
    const float y = 1 / (1 + exponential(-slope * distance));
    return slope * y * (1 - y);
  }
};

struct tanh {
  static float derivative(float distance, float slope) {
    const float y = 2 / (1 + exponential(-2 * slope * distance)) - 1;
    return 1 - y * y;
  }
};

struct triangle {
  static float derivative(float distance, float width) {
    const float height = width - std::fabs(distance);
    return (height > 0 ? height : 0.0f) / (width * width);
  }
};

struct atan {
  static float derivative(float distance, float slope) {
    const float x = slope * distance * 1.57079633f;
    return slope / 2 * (1 / (1 + x * x));
  }
};

struct fast_sigmoid {
  static float derivative(float distance, float slope) {
    const float y = 1 + slope * std::fabs(distance);
    return 1 / (y * y);
  }
};

struct learnable {
  static float derivative(float distance, float slope) {
    return slope / 2 * tanh::derivative(distance, slope);
  }
};

}  // namespace surrogate
