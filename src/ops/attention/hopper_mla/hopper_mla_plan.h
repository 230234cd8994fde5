// How the work of the kernel hopper_mla is dealt to clusters of thread blocks. Host and device
// compute the same from lengths alone: each block finds its own share, so nothing has to be planned
// beforehand.
//
// Rows of a sequence times heads, in tiles of so many of them, meet keys in tiles of kMlaTileKeys.
// A tile of rows with many keys is cut into pieces of equal length, whose results are merged in
// ascending order of keys. Pieces lie in the order of sequences, keys and tiles of rows: blocks
// that run at the same time share keys.
#pragma once

#include <algorithm>
#include <cstdint>

namespace quire::ops::attention {

inline constexpr int32_t kMlaTileRows = 64;  // of a block; a cluster of blocks shares a larger tile
inline constexpr int32_t kMlaTileKeys = 64;

// Divides by one number again and again, in a few instructions.
class MlaDivisor {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): where a number is divided by once
  constexpr MlaDivisor(int32_t value)
      : value_(value), inverse_(0xffffffffu / static_cast<uint32_t>(value)) {}
  constexpr int32_t value() const { return value_; }

  // `x` / value, x from 0 on. The product with the inverse is too small by less than 1.
  constexpr int32_t Divide(int32_t x) const {
    const auto below = static_cast<int32_t>(uint64_t{static_cast<uint32_t>(x)} * inverse_ >> 32);
    return below + (x - below * value_ >= value_ ? 1 : 0);
  }

 private:
  int32_t value_;
  uint32_t inverse_;
};

// Key tiles of a piece where all tiles of rows together meet `work` key tiles: the share of a
// cluster, but not so few that the merge costs more than it saves. At most 2 * clusters pieces are
// parts of a tile.
constexpr int32_t MlaPieceLength(int32_t work, const MlaDivisor& clusters) {
  constexpr int32_t kFew = 4;  // longer pieces are multiples of it
  const int32_t share = clusters.Divide(work + clusters.value() - 1);
  if (share > kFew) {
    return (share + kFew - 1) / kFew * kFew;
  }
  return std::max({share, std::min(1 + clusters.Divide(2 * work), kFew), 1});
}

// A sequence's share of the work. Costs are in half key tiles.
struct MlaSequenceWork {
  int32_t tiles = 0;      // of rows
  int32_t key_tiles = 0;  // that each of them meets
  int32_t pieces = 0;     // of a tile of rows

  constexpr MlaSequenceWork() = default;
  // Rows times heads in tiles of tile_rows, with pieces of `length` key tiles.
  constexpr MlaSequenceWork(int32_t flat_rows, int32_t tile_rows, int32_t keys,
                            const MlaDivisor& length)
      : tiles((flat_rows + tile_rows - 1) / tile_rows),
        key_tiles((keys + kMlaTileKeys - 1) / kMlaTileKeys),
        pieces(std::max(length.Divide(key_tiles + length.value() - 1), 1)) {}

  constexpr int32_t all_pieces() const { return tiles * pieces; }
  // Pieces whose results are merged.
  constexpr int32_t partials() const { return pieces > 1 ? tiles * pieces : 0; }
  // The record in which piece `piece` leaves how its tile is merged, or that there is no tile,
  // where the sequences before have so many partials; -1: none. As a tile that is merged has two
  // pieces or more, all sequences together set each of half as many records as there are partials,
  // once.
  constexpr int32_t MergeRecord(int32_t partials_before, int32_t piece) const {
    const int32_t record = partials_before / 2 + piece;
    return record < (partials_before + partials()) / 2 ? record : -1;
  }
  constexpr int32_t cost() const { return 2 * tiles * (key_tiles + pieces * kMlaPieceCost); }

  // Of the pieces, how many have the middle of their cost less than `cost` behind the sequence's
  // start. Piece i is of tile i % tiles and has the keys of the tile's piece i / tiles.
  constexpr int32_t PiecesBefore(int32_t cost, int32_t length) const {
    if (cost <= 0 || tiles == 0) {
      return 0;
    }
    const int32_t level = 2 * tiles * (length + kMlaPieceCost);  // a piece of each tile
    const int32_t whole = std::min(cost / level, pieces - 1);
    const int32_t half = std::min(length, key_tiles - whole * length) + kMlaPieceCost;
    const int32_t rest = cost - whole * level;  // a middle is an odd multiple of `half`
    const int32_t in_level = rest <= 0 ? 0 : ((rest - 1) / half + 1) / 2;
    return whole * tiles + std::min(in_level, tiles);
  }

  static constexpr int32_t kMlaPieceCost = 4;  // of a piece beside its keys, in key tiles
};

// The most that the costs of a call may be; the kernel counts with 32 bits.
constexpr int64_t MostMlaCost(int64_t flat_rows, int64_t sequences, int64_t most_keys) {
  const int64_t tiles = flat_rows / kMlaTileRows + sequences;
  const int64_t key_tiles = most_keys / kMlaTileKeys + 1;
  return 2 * tiles * key_tiles * (1 + MlaSequenceWork::kMlaPieceCost);
}

// The cost of what clusters before `cluster` have, of `all`.
constexpr int32_t MlaShareStart(int32_t all, const MlaDivisor& clusters, int32_t cluster) {
  const int32_t each = clusters.Divide(all);
  return each * cluster + std::min(all - each * clusters.value(), cluster);
}

}  // namespace quire::ops::attention
