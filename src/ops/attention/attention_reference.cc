#include "ops/attention/attention_reference.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/element.h"

namespace quire::ops::attention {

namespace {

using Row = std::vector<double>;

// One sequence and kv head. A row of a token that no query row sees stays empty: it is not read.
struct Sequence {
  int32_t b;
  int kv_head;
  std::vector<Row> keys;
  std::vector<Row> values;
};

bool Sees(const Problem& problem, int64_t position, int64_t key) {
  return (problem.window_left < 0 || key >= position - problem.window_left) &&
         (problem.window_right < 0 || key <= position + problem.window_right);
}

Row LoadHead(const HeadRows& rows, int64_t row, int head, int dim) {
  Row values;
  for (int d = 0; d < dim; ++d) {
    values.push_back(
        LoadElement(rows.data, rows.dtype, row * rows.row_stride + head * rows.head_stride + d));
  }
  return values;
}

// The first `dim` elements of the row of `token` in `rows`.
Row LoadToken(const Problem& problem, const KvRows& rows, const Sequence& sequence, int64_t token,
              int dim) {
  int64_t page = 0;
  int64_t offset = token;
  if (problem.paged()) {
    page = problem.page_table[int64_t{sequence.b} * problem.max_pages + token / problem.page_size];
    offset = token % problem.page_size;
  } else {
    offset += problem.key_start[sequence.b];
  }
  const int64_t start = rows.strides.Offset(page, sequence.kv_head, offset);
  double scale = 1;
  if (rows.scale != nullptr) {
    scale = rows.scale[problem.scale_strides.Offset(page, sequence.kv_head, offset)];
  }
  Row values;
  for (int d = 0; d < dim; ++d) {
    values.push_back(scale * LoadElement(rows.data, problem.kv_dtype, start + d));
  }
  return values;
}

Sequence LoadSequence(const Problem& problem, int32_t b, int kv_head) {
  Sequence sequence = {b, kv_head, {}, {}};
  for (int64_t token = 0; token < problem.Keys(b); ++token) {
    bool seen = false;
    for (int64_t i = 0; i < problem.Rows(b); ++i) {
      seen = seen || Sees(problem, problem.FirstPosition(b) + i, token);
    }
    sequence.keys.emplace_back();
    sequence.values.emplace_back();
    if (seen) {
      sequence.keys.back() = LoadToken(problem, problem.key, sequence, token, problem.key_dim);
      sequence.values.back() =
          LoadToken(problem, problem.value, sequence, token, problem.value_dim);
    }
  }
  return sequence;
}

double ScoreOf(const Problem& problem, const Row& query, const Row& key) {
  double dot = 0;
  for (size_t d = 0; d < query.size(); ++d) {
    dot += query[d] * key[d];
  }
  const double score = dot * problem.scale;
  const double cap = problem.logit_soft_cap;
  return cap > 0 ? cap * std::tanh(score / cap) : score;
}

// One head of row i of the sequence.
void AttendHead(const Problem& problem, const Sequence& sequence, int64_t i, int head) {
  const int64_t row = problem.FirstRow(sequence.b) + i;
  const int64_t position = problem.FirstPosition(sequence.b) + i;
  const Row query = LoadHead(problem.query, row, head, problem.key_dim);
  std::vector<size_t> seen;
  Row scores;
  double max = -std::numeric_limits<double>::infinity();
  for (size_t key = 0; key < sequence.keys.size(); ++key) {
    if (Sees(problem, position, static_cast<int64_t>(key))) {
      seen.push_back(key);
      scores.push_back(ScoreOf(problem, query, sequence.keys[key]));
      max = std::max(max, scores.back());
    }
  }
  double sum = 0;
  if (problem.sinks != nullptr && !seen.empty()) {
    max = std::max(max, double{problem.sinks[head]});
    sum = std::exp(problem.sinks[head] - max);
  }
  Row acc(static_cast<size_t>(problem.value_dim));
  for (size_t k = 0; k < seen.size(); ++k) {
    const double weight = std::exp(scores[k] - max);
    sum += weight;
    for (size_t d = 0; d < acc.size(); ++d) {
      acc[d] += weight * sequence.values[seen[k]][d];
    }
  }
  for (int d = 0; d < problem.value_dim; ++d) {
    const double value = seen.empty() ? 0 : acc[static_cast<size_t>(d)] / sum;
    StoreElement(static_cast<float>(value), problem.out.data, problem.out.dtype,
                 row * problem.out.row_stride + head * problem.out.head_stride + d);
  }
  if (problem.lse != nullptr) {
    problem.lse[row * problem.q_heads + head] = static_cast<float>(max + std::log(sum));
  }
}

}  // namespace

void RunReference(const Problem& problem) {
  for (int32_t b = 0; b < problem.num_sequences; ++b) {
    for (int kv_head = 0; kv_head < problem.kv_heads; ++kv_head) {
      const Sequence sequence = LoadSequence(problem, b, kv_head);
      for (int64_t i = 0; i < problem.Rows(b); ++i) {
        for (int head = 0; head < problem.group(); ++head) {
          AttendHead(problem, sequence, i, kv_head * problem.group() + head);
        }
      }
    }
  }
}

}  // namespace quire::ops::attention
