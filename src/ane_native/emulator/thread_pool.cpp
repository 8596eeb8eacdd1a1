#include "thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

#include "../errors.h"
#include "../host/machine.h"

namespace ane::emulator {

namespace {

constexpr int pauses_before_sleep = 2000;
constexpr int pauses_before_yield = 1000;

int threads_wanted() {
    const char* text = std::getenv("ANEPERF_THREADS");
    if (!text || !*text) return std::min(physical_cores(), ThreadPool::max_size);
    int threads = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, threads);
    if (error != std::errc() || stop != end || threads < 1 || threads > ThreadPool::max_size)
        throw ArgumentError("ANEPERF_THREADS is \"" + std::string(text) +
                            "\"; it must be a number from 1 to " + std::to_string(ThreadPool::max_size));
    return threads;
}

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

// Blocks every signal for the threads that are started meanwhile: signals belong to the threads that the
// caller knows.
class SignalsBlocked {
   public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

   private:
    sigset_t before_;
};

}  // namespace

// The pool lives until the process ends: joining threads during static destruction can deadlock.
ThreadPool& ThreadPool::shared() {
    static auto* pool = new ThreadPool(threads_wanted());
    return *pool;
}

// Where the system refuses a thread, the others do its tasks.
void ThreadPool::start_workers() {
    workers_of_ = process_generation();
    const SignalsBlocked blocked;
    try {
        for (int worker = 1; worker < size_; ++worker) std::thread([this, worker] { work(worker); }).detach();
    } catch (const std::exception&) {
    }
}

// Runs tasks of the present job until none is left. The job cannot end, nor another begin, before the tasks
// that were run here are reported.
void ThreadPool::run_tasks(int worker) {
    int64_t finished = 0;
    for (uint64_t ticket = ticket_.load();;) {
        const int64_t index = static_cast<uint32_t>(ticket);
        const Function function = function_;
        const void* context = context_;
        if (index >= count_.load()) break;
        if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
        function(context, index, worker);
        ++finished;
        ticket = ticket_.load();
    }
    if (finished > 0) done_.fetch_add(finished);
}

void ThreadPool::work(int worker) {
    uint32_t seen = 0;
    for (;;) {
        run_tasks(worker);
        for (int spin = 0; job_.load() == seen && spin < pauses_before_sleep; ++spin) pause();
        job_.wait(seen);
        seen = job_.load();
    }
}

void ThreadPool::run(int64_t count, Function function, const void* context) {
    const std::unique_lock lock(in_use_, std::try_to_lock);
    if (!lock || count <= 1 || size_ == 1) {
        for (int64_t index = 0; index < count; ++index) function(context, index, 0);
        return;
    }
    // No index is left of the previous job, so nobody reads these before the ticket is renewed.
    count_ = 0;
    done_ = 0;
    function_ = function;
    context_ = context;
    ticket_ = ((ticket_.load() >> 32) + 1) << 32;
    count_ = count;
    if (workers_of_ != process_generation()) start_workers();
    job_.fetch_add(1);
    job_.notify_all();
    run_tasks(0);
    for (int spin = 0; done_.load() < count; ++spin) {
        if (spin < pauses_before_yield) {
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

}  // namespace ane::emulator
