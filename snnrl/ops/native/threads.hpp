// Threads that share an operator's work.
//
// Work is cut into blocks by its shape alone, and no two blocks add to the same number. So results
// are the same bits for any number of threads.

#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace {

// Blocks to be worked off, each by one call.
struct Job {
  void (*call)(const void* work, int64_t block);
  const void* work;
  int64_t blocks;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr problem;

  void take() {
    for (int64_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) {
      try {
        call(work, block);
      } catch (...) {
        if (!failed.exchange(true)) problem = std::current_exception();
      }
    }
  }
};

// Threads that help the calling thread. They sleep while there is no work, after a short time in
// which the next operator often comes.
class Helpers {
 public:
  const pid_t process = getpid();

  // Works off a job with so many helpers; `false`: they help another thread.
  bool run(Job& job, int wanted) {
    std::unique_lock<std::mutex> use(users, std::try_to_lock);
    if (!use.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> hold(mutex);
      for (; count < wanted; ++count) std::thread([this] { help(); }).detach();
      current = &job;
      places = wanted;
      announced.fetch_add(1, std::memory_order_release);
    }
    for (int i = 0; i < wanted; ++i) begun.notify_one();
    job.take();
    {
      std::lock_guard<std::mutex> hold(mutex);
      current = nullptr;
    }
    watch([&] { return busy.load(std::memory_order_acquire) == 0; });
    std::unique_lock<std::mutex> hold(mutex);
    ended.wait(hold, [&] { return busy == 0; });
    return true;
  }

 private:
  static constexpr std::chrono::microseconds AWAKE{500};

  std::mutex users, mutex;
  std::condition_variable begun, ended;
  std::atomic<int64_t> announced{0};
  Job* current = nullptr;
  int count = 0, places = 0;
  std::atomic<int> busy{0};

  void help() {
    int64_t seen = 0;
    for (;;) {
      watch([&] { return announced.load(std::memory_order_acquire) != seen; });
      std::unique_lock<std::mutex> hold(mutex);
      begun.wait(hold, [&] { return announced.load(std::memory_order_relaxed) != seen; });
      seen = announced.load(std::memory_order_relaxed);
      if (!current || !places) continue;
      --places;
      ++busy;
      Job& job = *current;
      hold.unlock();
      job.take();
      hold.lock();
      if (--busy == 0) ended.notify_one();
    }
  }

  // Waits awake for a while: to be woken takes longer than what is mostly between two operators.
  // Whoever else needs the core gets it.
  template <class F>
  static void watch(const F& came) {
    using Clock = std::chrono::steady_clock;
    for (const auto end = Clock::now() + AWAKE; Clock::now() < end; std::this_thread::yield())
      for (int i = 0; i < 32; ++i) {
        if (came()) return;
        pause();
      }
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
};

std::atomic<int> threads{1};

// The helpers of this process: a forked one has none of its parent's.
inline Helpers& helpers() {
  static std::atomic<Helpers*> own{nullptr};
  Helpers* found = own.load();
  while (!found || found->process != getpid()) {
    auto made = std::make_unique<Helpers>();
    // Never destroyed: threads of this process wait on it until the process ends.
    if (own.compare_exchange_strong(found, made.get())) return *made.release();
  }
  return *found;
}

// Calls work(block) for all blocks, on as many threads as there may be.
template <class F>
void share(int64_t blocks, const F& work) {
  const int64_t most = threads.load(std::memory_order_relaxed);
  const int wanted = int(blocks < most ? blocks : most) - 1;
  if (wanted < 1) {
    for (int64_t block = 0; block < blocks; ++block) work(block);
    return;
  }
  Job job{[](const void* f, int64_t block) { (*static_cast<const F*>(f))(block); }, &work, blocks};
  if (!helpers().run(job, wanted)) job.take();
  if (job.failed) std::rethrow_exception(job.problem);
}

// How many blocks of `size` hold all.
inline int64_t blocks_of(int64_t all, int64_t size) { return (all + size - 1) / size; }

// The end of a block of `size` that begins at `first`.
inline int64_t end_of(int64_t first, int64_t size, int64_t all) {
  return first + size < all ? first + size : all;
}

}  // namespace
