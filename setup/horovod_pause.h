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
    looked_.notify_all();
    auto shortest = std::min<std::chrono::steady_clock::duration>(longest, std::chrono::microseconds(100));
    std::this_thread::sleep_for(shortest);
    std::unique_lock<std::mutex> lock(mutex_);
    awaited_.wait_for(lock, longest - shortest, [this] { return waiting_ > 0; });
  }

  // Of whoever waits for a result. Most are there when a look ends; a GPU's may come later.
  template <typename Result> void Until(Result is_there) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    awaited_.notify_one();
    while (!is_there()) {
      looked_.wait_for(lock, std::chrono::microseconds(20));
    }
    --waiting_;
  }

private:
  std::mutex mutex_;
  std::condition_variable looked_;
  std::condition_variable awaited_;
  int waiting_ = 0;
};

inline Pause pauses;

} // namespace horovod
