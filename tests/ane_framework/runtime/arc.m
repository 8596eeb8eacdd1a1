// ARC on GCC's libobjc: the functions that clang calls for -fobjc-arc, in terms of retain and release.
// There are none for __weak.
#import <Foundation/Foundation.h>

#include <Block.h>

extern void* _NSConcreteStackBlock[];
extern void* _NSConcreteMallocBlock[];
extern void* _NSConcreteGlobalBlock[];

static BOOL is_block(id object) {
    const void* isa = object_getClass(object);
    return isa == _NSConcreteStackBlock || isa == _NSConcreteMallocBlock || isa == _NSConcreteGlobalBlock;
}

// Classes are not counted: a metaclass does not even answer to -retain.
static BOOL is_class(id object) { return class_isMetaClass(object_getClass(object)); }

id objc_retainBlock(id block) { return block ? (id)_Block_copy(block) : nil; }

id objc_retain(id object) {
    if (!object) return nil;
    if (is_block(object)) return objc_retainBlock(object);
    return is_class(object) ? object : [object retain];
}

void objc_release(id object) {
    if (!object) return;
    if (is_block(object))
        _Block_release(object);
    else if (!is_class(object))
        [object release];
}

// An autorelease pool cannot hold a block: it is leaked rather than freed too early.
id objc_autorelease(id object) {
    return !object || is_block(object) || is_class(object) ? object : [object autorelease];
}

id objc_retainAutorelease(id object) { return objc_autorelease(objc_retain(object)); }
id objc_autoreleaseReturnValue(id object) { return objc_autorelease(object); }
id objc_retainAutoreleaseReturnValue(id object) { return objc_retainAutorelease(object); }
id objc_retainAutoreleasedReturnValue(id object) { return objc_retain(object); }
id objc_unsafeClaimAutoreleasedReturnValue(id object) { return object; }

void objc_storeStrong(id* place, id object) {
    const id old = *place;
    if (old == object) return;
    *place = objc_retain(object);
    objc_release(old);
}

void* objc_autoreleasePoolPush(void) { return [[NSAutoreleasePool alloc] init]; }
void objc_autoreleasePoolPop(void* pool) { [(NSAutoreleasePool*)pool release]; }
