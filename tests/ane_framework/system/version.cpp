// The version of macOS that the stand-in is.
#include <cstdlib>
#include <string_view>

#include "faults.h"

int ane_standin_os(void) {
    constexpr int oldest = 26, newest = 27;
    const char* const text = std::getenv("ANE_STANDIN_OS");
    const std::string_view wanted = text ? text : "";
    if (wanted.empty() || wanted == "26") return oldest;
    return wanted == "27" ? newest : 0;
}
