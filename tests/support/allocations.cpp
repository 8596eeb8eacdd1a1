// Counts what C++ code allocates. Loaded with global symbols before the extension, it takes the place of the
// standard library's operators.
#include <atomic>
#include <cstdlib>
#include <new>

static std::atomic<long> count{0};

static void* allocated(void* memory) {
    ++count;
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void* operator new(std::size_t bytes) { return allocated(std::malloc(bytes)); }
void* operator new[](std::size_t bytes) { return allocated(std::malloc(bytes)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    const auto unit = static_cast<std::size_t>(alignment);
    return allocated(std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit));
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

extern "C" long allocation_count() { return count; }
