#include "thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "../errors.h"
#include "../host/machine.h"

namespace ane::emulator {

namespace {

constexpr int spins_before_sleep = 4000;  // some 20 microseconds: longer than the gap between two operations
constexpr int spins_before_yield = 1000;

std::atomic<ThreadPool*> instance{nullptr};
std::mutex instance_mutex;

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

void pause_briefly(int spin) {
    if (spin > spins_before_yield) {
        std::this_thread::yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

}  // namespace

// The pool lives until the process ends: joining threads during static destruction can deadlock.
ThreadPool& ThreadPool::shared() {
    if (ThreadPool* pool = instance.load()) return *pool;
    const std::lock_guard lock(instance_mutex);
    if (!instance) {
        // Threads do not survive fork: the child starts a pool of its own when it needs one.
        static const int once = pthread_atfork([] { instance_mutex.lock(); }, [] { instance_mutex.unlock(); },
                                               [] {
                                                   instance = nullptr;
                                                   instance_mutex.unlock();
                                               });
        static_cast<void>(once);
        instance = new ThreadPool(threads_wanted());
    }
    return *instance;
}

ThreadPool::ThreadPool(int size) : size_(size) {
    // Signals belong to the threads that the caller knows of: new threads inherit a mask that blocks them
    // all.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int worker = 1; worker < size; ++worker) std::thread([this, worker] { work(worker); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
        for (int spin = 0; job_.load() == seen && spin < spins_before_sleep; ++spin) pause_briefly(spin);
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
    job_.fetch_add(1);
    job_.notify_all();
    run_tasks(0);
    for (int spin = 0; done_.load() < count; ++spin) pause_briefly(spin);
}

}  // namespace ane::emulator
