#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "faults.h"

const char* ane_standin_framework_path() {
    static const std::string path = [] {
        if (const char* chosen = std::getenv("ANE_STANDIN_FRAMEWORK")) return std::string(chosen);
        Dl_info here;
        if (!dladdr(reinterpret_cast<void*>(&ane_standin_framework_path), &here)) return std::string();
        const std::string library = here.dli_fname;
        return library.substr(0, library.rfind('/') + 1) + "libane_standin_framework.so";
    }();
    return path.c_str();
}
