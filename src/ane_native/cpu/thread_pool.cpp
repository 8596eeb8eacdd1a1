// Why a pool of its own: an evaluation consists of many short steps, so starting one must be cheap. Idle
// workers spin for a moment before they sleep, one atomic increment publishes a job, and tasks are claimed
// one at a time so that cores of unequal speed finish together. There are two jobs because a device's
// evaluation and the host's gradients run at the same time.
#include "thread_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <thread>

#include "errors.h"
#include "machine.h"

namespace ane::cpu {

namespace {

constexpr int pauses_before_sleep = 2000;
constexpr int64_t most_tasks = std::numeric_limits<uint32_t>::max();  // that a ticket counts

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
    static std::atomic<bool> is_forked{false};
    static auto* pool = [] {
        auto* made = new ThreadPool(threads_wanted());
        pthread_atfork(nullptr, nullptr, [] { is_forked = true; });
        return made;
    }();
    if (is_forked.load(std::memory_order_relaxed))
        throw DeviceUnavailable(
            "this process was forked from one that uses the emulator or trains, whose threads do not survive "
            "a "
            "fork: start processes with multiprocessing.get_context(\"spawn\"), and open the device there");
    return *pool;
}

// If the system refuses a thread, the others do its tasks.
void ThreadPool::need_workers() {
    std::call_once(started_, [this] {
        const SignalsBlocked blocked;
        try {
            for (int worker = 1; worker < size_; ++worker)
                std::thread([this, worker] { work(worker); }).detach();
        } catch (const std::exception&) {
        }
    });
}

void ThreadPool::Job::begin(int64_t tasks, Function task, const void* task_context) {
    // No index is left of the previous job, so nobody reads these before the ticket is renewed.
    count = 0;
    done = 0;
    function = task;
    context = task_context;
    ticket = ((ticket.load() >> 32) + 1) << 32;
    count = tasks;
}

// Runs tasks until none is left. The job cannot end, nor another begin in its place, before the tasks that
// were run here are reported.
void ThreadPool::Job::run_tasks(int worker) {
    int64_t finished = 0;
    for (uint64_t next = ticket.load();;) {
        const int64_t index = static_cast<uint32_t>(next);
        const Function task = function;
        const void* task_context = context;
        if (index >= count.load()) break;
        if (!ticket.compare_exchange_weak(next, next + 1)) continue;
        task(task_context, index, worker);
        ++finished;
        next = ticket.load();
    }
    if (finished > 0) {
        done.fetch_add(finished);
        done.notify_one();
    }
}

void ThreadPool::Job::wait() {
    for (int spin = 0; spin < pauses_before_sleep && done.load() < count.load(); ++spin) pause();
    for (int64_t seen = done.load(); seen < count.load(); seen = done.load()) done.wait(seen);
}

void ThreadPool::work(int worker) {
    uint32_t seen = 0;
    for (;;) {
        for (Job& job : jobs_) job.run_tasks(worker);
        for (int spin = 0; begun_.load() == seen && spin < pauses_before_sleep; ++spin) pause();
        begun_.wait(seen);
        seen = begun_.load();
    }
}

void ThreadPool::run(int64_t count, Function function, const void* context) {
    Job* job = nullptr;
    std::unique_lock<std::mutex> lock;
    if (count > 1 && count <= most_tasks && size_ > 1) {
        for (Job& candidate : jobs_) {
            lock = std::unique_lock(candidate.in_use, std::try_to_lock);
            if (!lock) continue;
            job = &candidate;
            break;
        }
    }
    if (!job) {
        for (int64_t index = 0; index < count; ++index) function(context, index, 0);
        return;
    }
    need_workers();
    job->begin(count, function, context);
    begun_.fetch_add(1);
    begun_.notify_all();
    job->run_tasks(0);
    job->wait();
}

}  // namespace ane::cpu
