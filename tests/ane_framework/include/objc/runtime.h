// GCC's inline object_getClass reads a member of an `id`, which ARC forbids: here is one for ARC.
#pragma once
#include <objc/objc.h>

#if __has_feature(objc_arc)

struct ane_standin_object {
    Class class_pointer;
};
#define object_getClass(ignored) ane_standin_unused_object_getClass(struct ane_standin_object* object)
#include_next <objc/runtime.h>
#undef object_getClass

static inline Class object_getClass(id object) {
    return object ? ((__bridge struct ane_standin_object*)object)->class_pointer : Nil;
}

#else
#include_next <objc/runtime.h>
#endif
