// QueueOrder: who of the waiting requests is next. One small file for each policy.
#pragma once

#include <cstdint>
#include <memory>

#include "scheduler/request.h"

namespace quire {

enum class QueuePolicy : uint8_t {
  kArrival,   // in order of arrival
  kPriority,  // in order of rank: priorities, deadlines and age in one
  kFair,      // the tenant that has been served least; of its requests the first by rank
};

// The place of a request that arrives at `now_ms` as the `arrival`-th in the order by rank.
//
// A request is due at its deadline, and at the latest once it has waited kAgingMs for each priority
// by which it is below the highest. Earliest due first is the order of Liu and Layland (1973). As
// the due time is fixed at arrival, priorities age by themselves: kAgingMs of waiting make up for
// one priority. By arrival all are due at 0.
Rank RankOf(QueuePolicy policy, const RequestSpec& spec, int64_t now_ms, uint64_t arrival);

// The waiting requests. The bound that keeps all from starving: who is due has only those before it
// that were due before it, so nobody who arrives later. One thread at a time.
class QueueOrder {
 public:
  virtual ~QueueOrder() = default;

  virtual void Push(Request& request) = 0;
  virtual void Remove(const Request& request) = 0;  // REQUIRES: it is in here
  virtual Request* First(int64_t now_ms) = 0;       // nullptr if there is none
  virtual int32_t size() const = 0;

  // The request's tenant has been served `cost`: 1 for a prompt token computed, 2 for a token
  // drawn.
  virtual void Charge(const Request& request, int64_t cost) = 0;
};

std::unique_ptr<QueueOrder> MakeQueueOrder(QueuePolicy policy);

}  // namespace quire
