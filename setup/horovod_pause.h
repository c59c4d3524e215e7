// How Horovod's two threads wait for each other; put into its source by build_horovod.py.

#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace horovod {

class Pause {
public:
  // Between two looks at what is ready, each of which is an exchange between all workers: ends when somebody waits for
  // a result, since nothing is gained then by letting more of them gather. Never ends at once, for the cores' sake.
  void BetweenLooks(std::chrono::steady_clock::duration longest) {
    auto shortest = std::min<std::chrono::steady_clock::duration>(longest, std::chrono::microseconds(100));
    std::this_thread::sleep_for(shortest);
    std::unique_lock<std::mutex> lock(mutex_);
    awaited_change_.wait_for(lock, longest - shortest, [this] { return awaited_; });
    awaited_ = false;
  }

  // Of whoever waits for a result, between two questions whether it is there.
  void BetweenQuestions() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      awaited_ = true;
    }
    awaited_change_.notify_one();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }

private:
  std::mutex mutex_;
  std::condition_variable awaited_change_;
  bool awaited_ = false;
};

inline Pause pauses;

} // namespace horovod
