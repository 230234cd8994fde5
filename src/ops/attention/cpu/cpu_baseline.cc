// Attention in plain C++: four quads per vector, which every 64-bit CPU has as a register.
// Products and sums round apart, so its bits differ from those of the sets with a fused
// multiply-add.
#include <bit>
#include <cmath>
#include <cstring>

#include "ops/attention/cpu/cpu_kernel.h"
#include "ops/lanes.h"
#include "tensor/element.h"

namespace quire::ops::attention::cpu {

namespace {

typedef float Quad __attribute__((vector_size(16)));
typedef int32_t QuadBits __attribute__((vector_size(16)));

struct BaselineVector {
  static constexpr int kRegisters = 4;
  using V = BaselineVector;
  Quad q[4];

  static V Zero() { return {}; }
  static V Broadcast(float x) {
    const Quad all = {x, x, x, x};
    return {{all, all, all, all}};
  }
  static V Load(const float* from) {
    V a;
    std::memcpy(a.q, from, sizeof(a.q));
    return a;
  }
  static V Load(const Half* from) { return LoadEach(from); }
  static V Load(const BFloat16* from) { return LoadEach(from); }
  static V Load(const Float8* from) { return LoadEach(from); }
  static void Store(float* to, const V& a) { std::memcpy(to, a.q, sizeof(a.q)); }
  static void Store(Half* to, const V& a) { StoreQuads(to, a); }
  static void Store(BFloat16* to, const V& a) { StoreQuads(to, a); }

  static V Add(const V& a, const V& b) {
    return {{a.q[0] + b.q[0], a.q[1] + b.q[1], a.q[2] + b.q[2], a.q[3] + b.q[3]}};
  }
  static V Sub(const V& a, const V& b) {
    return {{a.q[0] - b.q[0], a.q[1] - b.q[1], a.q[2] - b.q[2], a.q[3] - b.q[3]}};
  }
  static V Mul(const V& a, const V& b) {
    return {{a.q[0] * b.q[0], a.q[1] * b.q[1], a.q[2] * b.q[2], a.q[3] * b.q[3]}};
  }
  static V Div(const V& a, const V& b) {
    return {{a.q[0] / b.q[0], a.q[1] / b.q[1], a.q[2] / b.q[2], a.q[3] / b.q[3]}};
  }
  static V Fma(const V& a, const V& b, const V& c) { return Add(Mul(a, b), c); }
  // Both give b where a lane of it is a NaN.
  static V Max(const V& a, const V& b) {
    V max;
    for (int i = 0; i < 4; ++i) {
      max.q[i] = a.q[i] > b.q[i] ? a.q[i] : b.q[i];
    }
    return max;
  }
  static V Min(const V& a, const V& b) {
    V min;
    for (int i = 0; i < 4; ++i) {
      min.q[i] = a.q[i] < b.q[i] ? a.q[i] : b.q[i];
    }
    return min;
  }
  // To the nearest integer. REQUIRES: |a| < 2^22 where the result is used.
  static V Round(const V& a) {
    const V magic = Broadcast(0x1.8p23f);
    return Sub(Add(a, magic), magic);
  }
  // a * 2^n for whole n; right where the result is normal.
  static V TimesPowerOf2(const V& a, const V& n) {
    const V magic = Broadcast(0x1.8p23f);
    const V shifted = Add(n, magic);  // n in the low bits
    V scaled;
    for (int i = 0; i < 4; ++i) {
      const QuadBits exponent = std::bit_cast<QuadBits>(shifted.q[i]) << 23;
      scaled.q[i] = std::bit_cast<Quad>(std::bit_cast<QuadBits>(a.q[i]) + exponent);
    }
    return scaled;
  }
  // a where not x < limit, else 0.
  static V ZeroWhereLess(const V& x, const V& limit, const V& a) {
    V kept;
    for (int i = 0; i < 4; ++i) {
      const QuadBits less = x.q[i] < limit.q[i];
      kept.q[i] = std::bit_cast<Quad>(std::bit_cast<QuadBits>(a.q[i]) & ~less);
    }
    return kept;
  }
  // a in the lanes [begin, end), else fill.
  static V KeepLanes(const V& a, int begin, int end, const V& fill) {
    V kept = fill;
    for (int i = begin < 0 ? 0 : begin; i < end && i < kLanes; ++i) {
      kept.q[i / 4][i % 4] = a.q[i / 4][i % 4];
    }
    return kept;
  }
  static float First(const V& a) { return a.q[0][0]; }
  static float LargestLane(const V& a) {
    float largest = a.q[0][0];
    for (int i = 1; i < kLanes; ++i) {
      largest = std::max(largest, a.q[i / 4][i % 4]);
    }
    return largest;
  }
  // The tree of all sums over lanes: i + (i + 8), then i + (i + 4), i + (i + 2), i + (i + 1).
  static float SumLanes(const V& a) {
    const Quad by4 = Fold4(a);
    return (by4[0] + by4[2]) + (by4[1] + by4[3]);
  }
  // The first two levels of that tree for four vectors: four lanes each.
  static V SumToQuarters(const V& a, const V& b, const V& c, const V& d) {
    return {{Fold4(a), Fold4(b), Fold4(c), Fold4(d)}};
  }
  // The last two levels for what four SumToQuarters made; sums in the order of the sixteen vectors.
  static V SumQuarters(const V& a, const V& b, const V& c, const V& d) {
    return {{FoldQuads(a), FoldQuads(b), FoldQuads(c), FoldQuads(d)}};
  }
  // Sixteen vectors as rows become columns.
  static void Transpose(V* rows) {
    V columns[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < kLanes; ++j) {
        columns[i].q[j / 4][j % 4] = rows[j].q[i / 4][i % 4];
      }
    }
    std::memcpy(rows, columns, sizeof(columns));
  }

 private:
  template <class T>
  static V LoadEach(const T* from) {
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      lanes[i] = ToFloat(from[i]);
    }
    return Load(lanes);
  }
  template <class T>
  static void StoreQuads(T* to, const V& a) {
    for (int i = 0; i < 4; ++i) {
      StoreLanes<4>(a.q[i], to + 4 * i);
    }
  }
  static Quad Fold4(const V& a) { return (a.q[0] + a.q[2]) + (a.q[1] + a.q[3]); }
  static Quad FoldQuads(const V& a) {
    Quad sums;
    for (int i = 0; i < 4; ++i) {
      sums[i] = (a.q[i][0] + a.q[i][2]) + (a.q[i][1] + a.q[i][3]);
    }
    return sums;
  }
};

}  // namespace

Kernels BaselineKernels() {
  return KernelsOf<BaselineVector>();
}

}  // namespace quire::ops::attention::cpu
