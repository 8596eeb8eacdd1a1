// Jobs that run one after the other on a thread of their own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace ane::training {

class WorkQueue {
   public:
    // When a job ran, in nanoseconds of std::chrono::steady_clock.
    struct Span {
        std::string name;
        int64_t begin, end;
    };

    WorkQueue();
    ~WorkQueue();  // finishes what was added
    WorkQueue(const WorkQueue&) = delete;
    WorkQueue& operator=(const WorkQueue&) = delete;

    void add(std::string name, std::function<void()> job);
    // Returns when nothing is left to do. Throws what a job threw; the jobs behind that one did not run.
    void wait();
    // The jobs that have run since the last call.
    std::vector<Span> take_spans();

   private:
    struct Job {
        std::string name;
        std::function<void()> run;
    };
    void work();

    std::mutex mutex_;
    std::condition_variable added_, finished_;
    std::deque<Job> jobs_;  // the first stays until it has run
    std::vector<Span> spans_;
    std::exception_ptr failure_;
    bool closing_ = false;
    std::thread thread_;
};

}  // namespace ane::training
