// DraftLength: how many drafts a request should have verified in its next step.
#pragma once

#include <algorithm>
#include <cstdint>

namespace quire {

// Drafts pay while enough of them are right. The length follows what was right lately: it grows to
// kLong while all are right and falls to kShort at the first that is not, so that a step has 4 or 8
// rows for a request, for which kernels are made. Below a share of kPays it is 0; then a probe goes
// out after kFirstPause steps, and each that fails doubles the pause up to kLongestPause: where
// drafts are no good they cost less than one row in a hundred.
class DraftLength {
 public:
  static constexpr int32_t kShort = 3;
  static constexpr int32_t kLong = 7;
  static constexpr double kPays = 0.4;
  static constexpr int32_t kFirstPause = 16;
  static constexpr int32_t kLongestPause = 512;

  // For the next step; 0 = none.
  int32_t Next() {
    if (pause_ > 0) {
      --pause_;
      return 0;
    }
    return length_;
  }

  // Of `drafted` >= 1 drafts in a row the first `accepted` were right.
  void Observe(int32_t drafted, int32_t accepted) {
    const double right = static_cast<double>(accepted) / drafted;
    share_ += (right - share_) / 4;
    length_ = accepted == drafted ? kLong : kShort;
    if (share_ >= kPays) {
      next_pause_ = kFirstPause;
      return;
    }
    pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
    share_ = kPays;  // a probe that is right resumes, one that is not pauses again
  }

 private:
  int32_t length_ = kShort;
  int32_t pause_ = 0;
  int32_t next_pause_ = kFirstPause;
  double share_ = 0.75;
};

}  // namespace quire
