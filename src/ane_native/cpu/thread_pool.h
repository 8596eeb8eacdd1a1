// The one pool of threads that all CPU work of this package shares.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace ane::cpu {

// Tasks are handed out one by one, so that a slow core does not hold up the others; what a task computes must
// not depend on which thread runs it.
class ThreadPool {
   public:
    static constexpr int max_size = 256;

    // The pool has as many threads as ANEPERF_THREADS says, or as there are physical cores that this process
    // may use. Throws ArgumentError for a malformed variable, and DeviceUnavailable in a child of fork if the
    // pool existed before: its threads and locks stay with the parent.
    static ThreadPool& shared();

    int size() const { return size_; }  // threads that run tasks, the caller's included

    // Calls task(index, worker) for each index below `count` and returns when all are done;
    // 0 <= worker < size(), each at one task at a time. Tasks must neither throw nor use the pool. At
    // most two jobs use the workers at once; further callers, and a job of 2^32 tasks or more, run on the
    // calling thread.
    template <typename Task>
    void parallel_for(int64_t count, const Task& task) {
        run(
            count,
            [](const void* context, int64_t index, int worker) {
                (*static_cast<const Task*>(context))(index, worker);
            },
            &task);
    }

   private:
    static constexpr size_t cache_line = 128;  // of Apple's cores; elsewhere a pair
    using Function = void (*)(const void* context, int64_t index, int worker);

    // The fields that tasks change lie on other cache lines than those they only read.
    struct Job {
        std::mutex in_use;
        // The job's number in the upper half, the next index to hand out in the lower. A worker claims an
        // index by exchange, so a worker that comes late can neither run a finished job nor take an index
        // twice.
        alignas(cache_line) std::atomic<uint64_t> ticket{0};
        alignas(cache_line) std::atomic<int64_t> done{0};
        alignas(cache_line) std::atomic<Function> function{nullptr};
        std::atomic<const void*> context{nullptr};
        std::atomic<int64_t> count{0};

        void begin(int64_t tasks, Function task, const void* task_context);
        void run_tasks(int worker);
        void wait();
    };

    explicit ThreadPool(int size) : size_(size) {}
    void run(int64_t count, Function function, const void* context);
    void need_workers();
    void work(int worker);

    const int size_;
    std::array<Job, 2> jobs_;  // the device's, and one of the host's beside it
    std::once_flag started_;
    std::atomic<uint32_t> begun_{0};  // what idle workers wait on
};

}  // namespace ane::cpu
