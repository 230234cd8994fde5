#include "ops/attention/hopper_mla/hopper_mla_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "base/test_seed.h"

namespace quire::ops::attention {

namespace {

constexpr int32_t kTileRows = 64;

struct Sequence {
  int32_t flat_rows;
  int32_t keys;
};

// A call as all clusters together see it.
class Dealt {
 public:
  Dealt(const std::vector<Sequence>& sequences, int32_t clusters) : clusters_(clusters) {
    int32_t work = 0;
    for (const Sequence& s : sequences) {
      const MlaSequenceWork w(s.flat_rows, kTileRows, s.keys, 1);
      work += w.tiles * w.key_tiles;
    }
    length_ = MlaPieceLength(work, clusters);
    for (const Sequence& s : sequences) {
      work_.emplace_back(s.flat_rows, kTileRows, s.keys, length_);
      all_cost_ += work_.back().cost();
    }
  }

  int32_t length() const { return length_; }
  int32_t all_cost() const { return all_cost_; }
  const std::vector<MlaSequenceWork>& work() const { return work_; }
  int32_t ShareStart(int32_t cluster) const { return MlaShareStart(all_cost_, clusters_, cluster); }

  // Pieces of all sequences that lie before a cluster's share.
  int32_t PiecesBefore(int32_t cluster) const {
    int32_t cost = 0;
    int32_t pieces = 0;
    for (const MlaSequenceWork& w : work_) {
      pieces += w.PiecesBefore(ShareStart(cluster) - cost, length_);
      cost += w.cost();
    }
    return pieces;
  }

 private:
  int32_t clusters_;
  int32_t length_ = 1;
  int32_t all_cost_ = 0;
  std::vector<MlaSequenceWork> work_;
};

TEST(HopperMlaPlan, ADivisorDivides) {
  std::mt19937_64 rng(TestSeed());
  for (int round = 0; round < 100'000; ++round) {
    const auto value = static_cast<int32_t>((rng() >> 33 >> rng() % 31) + 1);
    const MlaDivisor divisor(value);
    const auto x = static_cast<int32_t>(rng() >> 33 >> rng() % 31);
    const int32_t multiple = x / value * value;
    for (const int32_t y : {x, multiple, std::max(multiple - 1, 0), INT32_MAX}) {
      ASSERT_EQ(divisor.Divide(y), y / value) << y << " / " << value;
    }
  }
}

TEST(HopperMlaPlan, PiecesAreAShareOfTheWork) {
  EXPECT_EQ(MlaPieceLength(0, 132), 1);
  EXPECT_EQ(MlaPieceLength(128 * 64, 132), 64);  // whole tiles, though 63 would be a share
  EXPECT_EQ(MlaPieceLength(32 * 64, 132), 16);
  EXPECT_EQ(MlaPieceLength(128, 132), 2);
  EXPECT_EQ(MlaPieceLength(1, 132), 1);
}

TEST(HopperMlaPlan, WorkOfASequence) {
  const MlaSequenceWork verify(3 * 128, 64, 1000, 4);
  EXPECT_EQ(verify.tiles, 6);
  EXPECT_EQ(verify.key_tiles, 16);
  EXPECT_EQ(verify.pieces, 4);
  EXPECT_EQ(verify.partials(), 24);
  const MlaSequenceWork no_keys(16, 64, 0, 4);
  EXPECT_EQ(no_keys.all_pieces(), 1) << "which writes zeros";
  EXPECT_EQ(no_keys.partials(), 0);
  EXPECT_EQ(MlaSequenceWork(0, 128, 100, 4).all_pieces(), 0);
}

// Of all pieces of sequences in order, the records of those that are merged: how often each is set,
// and whether by the first piece of a tile.
struct Records {
  explicit Records(const std::vector<MlaSequenceWork>& work) {
    for (const MlaSequenceWork& w : work) {
      partials += w.partials();
    }
    set.resize(static_cast<size_t>(partials / 2));
    int32_t before = 0;
    for (const MlaSequenceWork& w : work) {
      for (int32_t piece = 0; piece < w.all_pieces(); ++piece) {
        const int32_t at = w.MergeRecord(before, piece);
        first_pieces += w.pieces > 1 && piece < w.tiles ? 1 : 0;
        records_of_first_pieces += at >= 0 && piece < w.tiles ? 1 : 0;
        set.at(static_cast<size_t>(std::max(at, 0))) += at >= 0 ? 1 : 0;
      }
      before += w.partials();
    }
  }
  int32_t partials = 0;
  int32_t first_pieces = 0;
  int32_t records_of_first_pieces = 0;
  std::vector<int32_t> set;
};

TEST(HopperMlaPlan, EachRecordOfAMergeIsSetOnce) {
  std::mt19937_64 rng(TestSeed());
  for (int round = 0; round < 200; ++round) {
    std::vector<MlaSequenceWork> work = {MlaSequenceWork(64, kTileRows, 1000, 3)};
    for (uint64_t count = rng() % 40; count > 0; --count) {
      work.emplace_back(static_cast<int32_t>(rng() % 500), kTileRows,
                        static_cast<int32_t>(rng() % 600), 3);
    }
    const Records records(work);
    EXPECT_THAT(records.set, testing::Each(1));
    EXPECT_GT(records.first_pieces, 0);
    EXPECT_EQ(records.records_of_first_pieces, records.first_pieces);
  }
}

TEST(HopperMlaPlan, EqualSequencesGoToAClusterEach) {
  const Dealt dealt(std::vector<Sequence>(64, {128, 4096}), 132);
  int32_t with_two = 0;
  for (int32_t cluster = 0; cluster < 132; ++cluster) {
    with_two += dealt.PiecesBefore(cluster + 1) - dealt.PiecesBefore(cluster) > 1 ? 1 : 0;
  }
  EXPECT_EQ(with_two, 0);
}

// The cost of piece `i` of a sequence by its definition.
int32_t CostOf(const MlaSequenceWork& w, int32_t i, int32_t length) {
  const int32_t rest = w.key_tiles - i / w.tiles * length;
  return 2 * (std::min(rest, length) + MlaSequenceWork::kMlaPieceCost);
}

// What each cluster gets: every piece once, in order, as its middle lies in the costs.
void ExpectAFairDeal(const std::vector<Sequence>& sequences, int32_t clusters) {
  const Dealt dealt(sequences, clusters);
  std::vector<int32_t> middles;
  int32_t partials = 0;
  int32_t cost = 0;
  for (const MlaSequenceWork& w : dealt.work()) {
    partials += w.partials();
    for (int32_t i = 0; i < w.all_pieces(); ++i) {
      const int32_t own = CostOf(w, i, dealt.length());
      middles.push_back(cost + own / 2);
      cost += own;
    }
  }
  EXPECT_EQ(cost, dealt.all_cost());
  EXPECT_LE(partials, 2 * clusters);
  EXPECT_EQ(dealt.ShareStart(0), 0);
  EXPECT_EQ(dealt.ShareStart(clusters), dealt.all_cost());
  for (int32_t cluster = 0; cluster <= clusters; ++cluster) {
    const int32_t start = dealt.ShareStart(cluster);
    ASSERT_EQ(dealt.PiecesBefore(cluster),
              std::ranges::count_if(middles, [start](int32_t middle) { return middle < start; }))
        << "before cluster " << cluster;
  }
  EXPECT_EQ(dealt.PiecesBefore(clusters), std::ssize(middles));
}

TEST(HopperMlaPlan, EveryPieceGoesToOneCluster) {
  std::mt19937_64 rng(TestSeed());
  for (int round = 0; round < 200; ++round) {
    std::vector<Sequence> sequences(1 + rng() % 70);
    const int32_t longest = round % 2 == 0 ? 300 : 20000;
    for (Sequence& s : sequences) {
      s.flat_rows = static_cast<int32_t>(rng() % 5 * (rng() % 128 + 1));
      s.keys = static_cast<int32_t>(rng() % 4 == 0 ? 0 : rng() % static_cast<uint64_t>(longest));
    }
    sequences.push_back({1, 1});
    ExpectAFairDeal(sequences, 1 + static_cast<int32_t>(rng() % 140));
  }
}

}  // namespace

}  // namespace quire::ops::attention
