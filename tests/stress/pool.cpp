#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "cpu/thread_pool.h"
#include "errors.h"
#include "stress.h"

namespace ane::stress {

namespace {

using cpu::ThreadPool;

// One job, each of whose tasks must run once. What tasks write is no atomic: that the caller reads it without
// a race is part of the contract.
void run_job(int64_t count) {
    ThreadPool& pool = ThreadPool::shared();
    std::vector<int64_t> runs(static_cast<size_t>(count)), workers(static_cast<size_t>(count));
    pool.parallel_for(count, [&](int64_t index, int worker) {
        runs[static_cast<size_t>(index)] += index + 1;
        workers[static_cast<size_t>(index)] = worker;
    });
    for (size_t i = 0; i < runs.size(); ++i) {
        check(runs[i] == static_cast<int64_t>(i) + 1, "a task did not run once");
        check(workers[i] >= 0 && workers[i] < pool.size(), "there is no such worker");
    }
}

}  // namespace

void callers_with_all_counts() {
    constexpr std::array<int64_t, 9> counts = {0, 1, 2, 5, 6, 7, 100, 3000, 100'000};
    at_once(8, [&](int caller) {
        for (int round = 0; round < 100; ++round)
            run_job(counts[static_cast<size_t>(caller + round) % (counts.size() - 1)]);
        run_job(counts.back());
    });
    // One caller, which always gets the pool: jobs so short that workers come too late for them.
    for (int round = 0; round < 5000; ++round) run_job(round % 9);
}

// Not allowed, since both levels then have the same workers, but nothing may hang.
void tasks_that_use_the_pool() {
    ThreadPool& pool = ThreadPool::shared();
    at_once(3, [&](int) {
        for (int round = 0; round < 50; ++round) {
            std::atomic<int64_t> sum = 0;
            pool.parallel_for(20, [&](int64_t outer, int) {
                pool.parallel_for(outer, [&](int64_t inner, int) { sum += inner; });
            });
            check(sum == 1140, "a task of a task is missing");
        }
    });
}

void forks_amid_jobs() {
    std::atomic<bool> done = false;
    std::thread busy([&] {
        while (!done) run_job(3000);
    });
    for (int i = 0; i < 10; ++i)
        in_a_fork([] {
            try {
                ThreadPool::shared();
                fail("a child of fork gets its parent's pool");
            } catch (const DeviceUnavailable&) {
            }
        });
    done = true;
    busy.join();
}

}  // namespace ane::stress
