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
    awaited_.wait_for(lock, longest - shortest, [this] { return waiting_ > 0; });
  }

  // Of whoever waits for a result.
  template <typename Result> void Until(Result is_there) {
    std::unique_lock<std::mutex> lock(mutex_);
    Counted counted(waiting_); // also where is_there throws
    awaited_.notify_one();
    arrived_.wait(lock, is_there);
  }

  // A result is there, for whoever asks. The lock keeps this out from between a waiter's question and its sleep.
  void Arrived() {
    std::lock_guard<std::mutex> lock(mutex_);
    arrived_.notify_all();
  }

private:
  struct Counted {
    explicit Counted(int& count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    int& count_;
  };

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable awaited_;
  int waiting_ = 0;
};

inline Pause pauses;

} // namespace horovod
