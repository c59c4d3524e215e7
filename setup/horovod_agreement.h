// How Horovod's workers find out what all of them have ready; put into its source by build_horovod.py.

#pragma once

#include <vector>

#include "gloo/context.h"
#include "gloo/transport/unbound_buffer.h"
#include "gloo/types.h"

namespace horovod {
namespace common {

// The bits of all workers, combined by AND or by OR: neither minds a worker's being counted twice. So in each round a
// worker sends all that it knows, twice as far as in the round before (as Hensgen, Finkel and Manber 1988 do for
// barriers). That is ceil(log2 N) rounds of N workers, where Gloo's own allreduce, a ring, takes 2 (N - 1).
inline void CombineEverywhere(gloo::Context& context, std::vector<long long>& bits, int count,
                              void (*combine)(void*, const void*, const void*, size_t)) {
  constexpr uint8_t PREFIX = 0x48; // none of Gloo's own
  const auto slot = gloo::Slot::build(PREFIX, 0);
  const size_t bytes = count * sizeof(long long);
  std::vector<std::vector<long long>> received;
  for (int distance = 1; distance < context.size; distance *= 2) {
    received.emplace_back(count);
  }
  // Asked for in all rounds at once: what is asked for already is sent without a question.
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> incoming;
  for (int distance = 1; distance < context.size; distance *= 2) {
    incoming.push_back(context.createUnboundBuffer(received[incoming.size()].data(), bytes));
    incoming.back()->recv((context.rank - distance + context.size) % context.size, slot);
  }
  auto outgoing = context.createUnboundBuffer(bits.data(), bytes);
  int distance = 1;
  for (size_t round = 0; round < incoming.size(); ++round, distance *= 2) {
    outgoing->send((context.rank + distance) % context.size, slot);
    incoming[round]->waitRecv(context.getTimeout());
    outgoing->waitSend(context.getTimeout());
    combine(bits.data(), bits.data(), received[round].data(), count);
  }
}

} // namespace common
} // namespace horovod
