#include "platform/cpu/cpu_limits.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "platform/cpu/isa_targets.h"

namespace quire {

namespace {

// The sum that plain C++ makes, of two short arrays; the compiler's own vectors.
int64_t BaselineSum(int rounds) {
  constexpr size_t kElements = 64;
  std::array<int8_t, kElements> left;
  std::array<int8_t, kElements> right;
  left.fill(1);
  right.fill(1);
  int64_t total = 0;
  for (int round = 0; round < rounds; ++round) {
    // The compiler must take the arrays for new each time.
    __asm__ volatile("" : : "r"(left.data()), "r"(right.data()) : "memory");
    int32_t sum = 0;
    for (size_t i = 0; i < kElements; ++i) {
      sum += left[i] * right[i];
    }
    total += sum;
  }
  return total;
}

int64_t SumOf(const int32_t* lanes, int count) {
  return std::accumulate(lanes, lanes + count, int64_t{0});
}

}  // namespace

}  // namespace quire

#if QUIRE_HAVE_X86

// Each product's operand passes through an empty instruction, so that the compiler takes it for new
// and does every product. There are enough sums to keep all units busy: products take 4 to 5 cycles
// and two may start in each.
QUIRE_BEGIN_AVX2
namespace quire {
namespace {

int64_t Avx2Sum(int rounds) {
  constexpr int kSums = 6;
  constexpr int kSteps = 8;  // products of 8 by 4 bits, so many fit the 16-bit sums
  __m256i ones = _mm256_set1_epi8(1);
  const __m256i wide_ones = _mm256_set1_epi16(1);
  __m256i sums[kSums] = {};
  for (int round = 0; round < rounds; ++round) {
    __m256i shorts[kSums] = {};
    for (int step = 0; step < kSteps; ++step) {
      for (__m256i& sum : shorts) {
        __asm__ volatile("" : "+x"(ones));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(ones, ones));
      }
    }
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(shorts[i], wide_ones));
    }
  }
  int32_t lanes[8 * kSums];
  for (int i = 0; i < kSums; ++i) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes + 8 * i), sums[i]);
  }
  return SumOf(lanes, 8 * kSums);
}

}  // namespace
}  // namespace quire
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
namespace quire {
namespace {

int64_t Avx512Sum(int rounds) {
  constexpr int kSums = 12;
  __m512i ones = _mm512_set1_epi8(1);
  __m512i sums[kSums] = {};
  for (int round = 0; round < rounds; ++round) {
    for (__m512i& sum : sums) {
      __asm__ volatile("" : "+v"(ones));
      sum = _mm512_dpbusd_epi32(sum, ones, ones);
    }
  }
  int32_t lanes[16 * kSums];
  for (int i = 0; i < kSums; ++i) {
    _mm512_storeu_si512(lanes + 16 * i, sums[i]);
  }
  return SumOf(lanes, 16 * kSums);
}

}  // namespace
}  // namespace quire
QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86

namespace quire {

int64_t SumInt8Products(CpuIsa isa, int rounds) {
#if QUIRE_HAVE_X86
  switch (isa) {
    case CpuIsa::kAvx512: return Avx512Sum(rounds);
    case CpuIsa::kAvx2: return Avx2Sum(rounds);
    case CpuIsa::kBaseline: break;
  }
#endif
  return BaselineSum(rounds);
}

double Int8Rate(CpuStream& stream) {
  constexpr int kRounds = 1 << 19;           // a millisecond or a few
  constexpr int64_t kTotalNs = 200'000'000;  // for the system to spread the threads over the cores
  std::vector<int64_t> sums(static_cast<size_t>(stream.threads().size()));
  const SteadyClock clock;
  const int64_t end_ns = clock.NowNs() + kTotalNs;
  double best = 0;
  while (clock.NowNs() < end_ns) {
    const int64_t start_ns = clock.NowNs();
    stream.threads().ParallelFor(std::ssize(sums), [&](int64_t task, int) {
      sums[static_cast<size_t>(task)] = SumInt8Products(stream.isa(), kRounds);
    });
    const auto nanoseconds = static_cast<double>(clock.NowNs() - start_ns);
    const int64_t products = std::accumulate(sums.begin(), sums.end(), int64_t{0});
    best = std::max(best, 2.0 * static_cast<double>(products) / nanoseconds * 1e9);
  }
  return best;
}

double ReadBandwidth(CpuStream& stream) {
  constexpr size_t kWords = (size_t{256} << 20) / sizeof(uint64_t);
  constexpr size_t kParts = 64;
  Result<Buffer> buffer = stream.device().Allocate(kWords * sizeof(uint64_t));
  if (!buffer.ok()) {
    return 0;
  }
  auto* words = static_cast<uint64_t*>(buffer->data());
  std::fill_n(words, kWords, 1);
  std::array<uint64_t, kParts> sums;
  const SteadyClock clock;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const int64_t start_ns = clock.NowNs();
    stream.threads().ParallelFor(kParts, [&](int64_t part, int) {
      const uint64_t* begin = words + static_cast<size_t>(part) * (kWords / kParts);
      sums[static_cast<size_t>(part)] =
          std::accumulate(begin, begin + kWords / kParts, uint64_t{0});
    });
    const auto nanoseconds = static_cast<double>(clock.NowNs() - start_ns);
    best = std::max(best, static_cast<double>(kWords * sizeof(uint64_t)) / nanoseconds * 1e9);
  }
  QUIRE_CHECK_EQ(std::accumulate(sums.begin(), sums.end(), uint64_t{0}), kWords);
  return best;
}

}  // namespace quire
