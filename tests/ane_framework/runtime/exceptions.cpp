// Objective-C exceptions in Objective-C++ on GCC's libobjc: @catch (NSException*) finds them, catch (...)
// catches them, and C++ exceptions work as everywhere.
#include <objc/runtime.h>
#include <unwind.h>

#include <cstdint>
#include <typeinfo>

namespace {

// How libobjc throws an object.
struct ThrownObject {
    _Unwind_Exception header;
    id value;
};

constexpr uint64_t objc_exception_class = 0x474e55434f424a43;  // "GNUCOBJC"

// The object that is being thrown, while the personality looks for its handler; nil for a C++ exception.
thread_local id thrown = nullptr;

id object_of(_Unwind_Exception* exception) {
    return exception->exception_class == objc_exception_class
               ? reinterpret_cast<ThrownObject*>(exception)->value
               : nullptr;
}

bool is_kind_of(id object, const char* class_name) {
    const Class wanted = objc_lookUpClass(class_name);
    for (Class c = object_getClass(object); c; c = class_getSuperclass(c))
        if (c == wanted) return true;
    return false;
}

}  // namespace

// The names that clang refers to from a @catch clause.
namespace gnustep::libobjc {

struct __objc_class_type_info : std::type_info {
    using std::type_info::type_info;
    ~__objc_class_type_info() override;
    bool __do_catch(const std::type_info*, void**, unsigned) const override {
        return thrown && is_kind_of(thrown, name());
    }
};
__objc_class_type_info::~__objc_class_type_info() = default;

struct __objc_id_type_info : std::type_info {
    __objc_id_type_info() : std::type_info("id") {}
    bool __do_catch(const std::type_info*, void**, unsigned) const override { return thrown != nullptr; }
};

}  // namespace gnustep::libobjc

extern "C" {

extern const gnustep::libobjc::__objc_id_type_info __objc_id_type_info;
const gnustep::libobjc::__objc_id_type_info __objc_id_type_info;

_Unwind_Reason_Code __gxx_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class kind,
                                         _Unwind_Exception* exception, _Unwind_Context* context);

_Unwind_Reason_Code __gnustep_objcxx_personality_v0(int version, _Unwind_Action actions,
                                                    _Unwind_Exception_Class kind,
                                                    _Unwind_Exception* exception, _Unwind_Context* context) {
    thrown = object_of(exception);
    const auto result = __gxx_personality_v0(version, actions, kind, exception, context);
    thrown = nullptr;
    return result;
}

void* __real___cxa_begin_catch(void* exception) noexcept;

// libstdc++ knows a foreign exception only as nothing; a @catch clause wants its object.
void* __wrap___cxa_begin_catch(void* exception) noexcept {
    const id object = object_of(static_cast<_Unwind_Exception*>(exception));
    void* const caught = __real___cxa_begin_catch(exception);
    return object ? static_cast<void*>(object) : caught;
}
}
